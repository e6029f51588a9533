"""Steps that call a model several times: refine, reflexion, sampling, tool calls."""
