"""Where the capabilities meet: lists of steps over an immutable state."""
