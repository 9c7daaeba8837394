"""Peers beside Tersor, on the same networks and samples. START READING at `__main__.py`."""
