"""Long runs: what they need in memory, and how they go on after an interruption."""
