"""Check that exported model files are safe, and run them with onnxruntime. Never imports torch."""
