"""Steps that make an answer from passages, or check one."""
