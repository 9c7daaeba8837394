"""Pure tensor functions: grids, ranges, moments. No ``nn.Module`` and no graph."""
