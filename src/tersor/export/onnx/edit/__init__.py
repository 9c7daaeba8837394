"""Writes a network into a copy of the file that it was read from. START READING at `edit.py`."""
