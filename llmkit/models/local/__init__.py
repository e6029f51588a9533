"""Chat models that run in this process: llama.cpp, OpenVINO, transformers."""
