"""The HTTP process. No torch: trained models run in ONNX Runtime."""
