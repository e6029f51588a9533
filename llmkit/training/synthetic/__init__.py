"""Training data made by rules or by a model."""
