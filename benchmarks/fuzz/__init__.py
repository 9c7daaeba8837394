"""Broken files for the readers: every one is read, or refused in one line."""
