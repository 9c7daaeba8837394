"""Outputs within a tolerance, in onnxruntime, on samples that nothing has seen, and its price.

python -m benchmarks.tolerance
python -m benchmarks.tolerance.nncf_peer
python -m benchmarks.tolerance.sixteen_bits
"""
