"""Scripts that measure Tersor on real weights. Run them as `python -m benchmarks.NAME`."""
