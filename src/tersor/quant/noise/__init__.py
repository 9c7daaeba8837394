"""What each quantizer alone does to the outputs."""
