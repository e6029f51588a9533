"""API keys, principals, rate limits and the middleware that checks them."""
