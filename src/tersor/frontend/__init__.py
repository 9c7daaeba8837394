"""Turns PyTorch modules, `.pt2` programs and ONNX files into a `Network`, after checking them."""
