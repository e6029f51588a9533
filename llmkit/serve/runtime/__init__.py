"""What runs while the server is up: jobs, admission, pipelines, the open knowledge base, metrics and the log."""
