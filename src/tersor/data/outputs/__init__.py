"""What a network returns, part by part, and what a change did to it."""
