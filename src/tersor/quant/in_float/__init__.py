"""As few layers as possible stay in floating point for what the outputs may lose."""
