"""The results that the verbs return: quantized and compressed models, and their reports."""
