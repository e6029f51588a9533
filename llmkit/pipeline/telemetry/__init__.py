"""OpenTelemetry spans and metrics of a pipeline run."""
