"""Tools a model may call, and the guards around the loop in which it does."""
