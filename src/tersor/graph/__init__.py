"""The captured network: ATen calls on edges, weights under the user's own names."""
