"""Exported model files: whether they are safe to open, and their answers by onnxruntime; never torch."""
