"""Peers beside Tersor: one program for each, which runs in an environment of its own.

A program takes the float file, the samples and the name of the result, and imports nothing of
Tersor or of the benchmarks. START READING at `__main__.py`.
"""
