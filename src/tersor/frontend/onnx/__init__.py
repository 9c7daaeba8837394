"""Reads ONNX files: a file becomes a PyTorch module, which is captured like any other.

`read.py` checks the file, `model.py` runs it, `table.py` lists the ops, and each of the other files
of ops covers one topic.
"""
