"""Samples in every form: feeds, sources, images, random inputs, streams, Gram matrices, journal."""
