"""Training of a dense retriever (DPR, Karpukhin et al. 2020)."""
