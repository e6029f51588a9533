"""Training data: formats, mixtures, hard negatives."""
