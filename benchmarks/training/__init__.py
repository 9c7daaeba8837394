"""Training: the recipes that make weights, and what a step costs beside other toolkits."""
