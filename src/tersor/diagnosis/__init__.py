"""Find out what is wrong with a quantized network: `flow` has the steps, in order."""
