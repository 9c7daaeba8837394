"""What makes a Network: PyTorch modules, `.pt2` programs and ONNX files are checked and captured."""
