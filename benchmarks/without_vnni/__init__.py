"""Run onnxruntime as on a CPU without VNNI: see `benchmarks.without_vnni.__main__`."""
