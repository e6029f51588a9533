"""Experiments: many arms on one task, decided with as few calls as they need."""
