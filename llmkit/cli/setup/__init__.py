"""Commands that check and prepare a machine and its files: check, schema, init, models, doctor."""
