"""Inference of BERT encoders without torch: graphs and runtimes (OpenVINO, ONNX Runtime)."""
