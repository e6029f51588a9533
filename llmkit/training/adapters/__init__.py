"""LoRA adapters on disk: save, merge, export to GGUF, check parity."""
