"""Detect the faces in a picture."""
