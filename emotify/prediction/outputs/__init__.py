"""The files that results are written to: one module for each format."""
