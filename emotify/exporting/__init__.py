"""Export a checkpoint or an ensemble to one ONNX file, and check it against torch before it is kept."""
