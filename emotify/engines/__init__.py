"""Predict on several machines: pictures are distributed in parts, and each part becomes one Parquet file."""
