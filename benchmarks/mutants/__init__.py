"""Do the tests see a small change to the code? Changes drawn at random, each one tested."""
