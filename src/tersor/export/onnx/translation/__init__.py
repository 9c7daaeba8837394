"""Translates a graph to ONNX without another `torch.export`. START READING at `translate.py`."""
