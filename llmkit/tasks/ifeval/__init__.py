"""Checks of the instructions of IFEval (Zhou et al. 2023)."""
