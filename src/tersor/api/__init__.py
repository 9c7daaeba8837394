"""The public verbs, one file each. START READING at `quantize.py`."""
