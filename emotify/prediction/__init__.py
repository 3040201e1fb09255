"""Picture -> faces -> batches -> onnxruntime -> results; never torch."""
