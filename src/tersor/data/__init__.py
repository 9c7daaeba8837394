"""Samples in every form: feeds, sources, images, synthetic, streams, Gram matrices, journal."""
