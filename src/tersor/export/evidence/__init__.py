"""What a file says of itself: its seal, and the outputs that it is expected to compute."""
