"""Verdicts against results of known quality.

Labels, boxes and human judgements say what a file is worth: `good` loses at most 1 point, `bad`
more than 5, `look` is in between, larger or slower. The verdict sees none of them.

    python -m benchmarks.verdicts
"""
