"""Reports from run directories: reading them, tables, figures and one HTML page."""
