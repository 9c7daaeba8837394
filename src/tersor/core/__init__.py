"""Pure tensor functions: grids, ranges, moments. There is no `nn.Module` and no graph here."""
