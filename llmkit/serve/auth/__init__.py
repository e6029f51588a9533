"""Authentication, authorization and rate limits: API keys, principals, and the middleware that checks each request."""
