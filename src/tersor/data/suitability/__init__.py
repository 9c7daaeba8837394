"""Whether samples are what a network expects to see."""
