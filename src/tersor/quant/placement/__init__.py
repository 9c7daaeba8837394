"""Where quantizers stand: on the edges that a target computes in integers."""
