"""Writers of results: one module per file format."""
