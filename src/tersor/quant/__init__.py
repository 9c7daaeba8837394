"""Rewrites that change the function within the bits: placing, ranging, correcting."""
