"""Networks whose BatchNorms sit behind joins and sums. START READING at `__main__.py`."""
