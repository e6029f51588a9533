"""Commands for prompt versions and experiments."""
