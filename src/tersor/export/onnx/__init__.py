"""The ONNX writer: from a network, or by editing the file that came in."""
