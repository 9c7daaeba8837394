"""What the verbs return: quantized and compressed models, and reports of them."""
