"""Tools that an agent can call and that need no pipeline."""
