"""LoRA fine-tuning of a chat model (Hu et al. 2021), and DPO."""
