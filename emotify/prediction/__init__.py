"""Pictures in, faces detected and classified in batches with onnxruntime, results out. Never imports torch."""
