"""The proof in the runtime: a file beside its simulation and the float file."""
