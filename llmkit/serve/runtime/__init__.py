"""What a running server holds: pipelines, open knowledge bases, jobs, queues, metrics, logs."""
