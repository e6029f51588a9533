"""Commands that score pipelines and read runs."""
