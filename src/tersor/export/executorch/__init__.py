"""Writes files for ExecuTorch, and runs them. START READING at `program.py`."""
