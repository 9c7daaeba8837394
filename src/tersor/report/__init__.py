"""Shows records and measurements as tables, plots and pages."""
