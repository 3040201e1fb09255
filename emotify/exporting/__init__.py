"""Checkpoint or ensemble -> one ONNX file, proved equal before it is kept."""
