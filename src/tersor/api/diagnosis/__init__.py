"""The parts of `diagnose`: sanity checks, the exam of each quantizer, remedies, findings."""
