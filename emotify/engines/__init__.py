"""Predicting on several machines: what is to be done goes out in parts, and each part becomes one file of rows."""
