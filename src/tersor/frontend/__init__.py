"""What makes a Network: PyTorch modules, `.pt2` programs, ONNX files, checked and captured."""
