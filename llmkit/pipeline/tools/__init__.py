"""Tools that need a knowledge base or another pipeline."""
