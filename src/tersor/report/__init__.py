"""Records and measurements, shown as tables."""
