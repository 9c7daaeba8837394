"""The arithmetic of XNNPACK's integer kernels, where it is not that of `core.mlas`."""
