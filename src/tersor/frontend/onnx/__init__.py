"""ONNX in: a file becomes a PyTorch module, captured like any other.

`read.py` checks the file, `model.py` runs it, `table.py` lists the ops, and each file of ops
beside it holds one topic.
"""
