"""Commands that check and prepare: check, schema, init, models, doctor."""
