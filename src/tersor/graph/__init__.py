"""The captured network: ATen calls on edges, its weighted layers and ops, costs and blocks."""
