"""Writes programs of PyTorch, and runs them. START READING at `pt2_writer.py`."""
