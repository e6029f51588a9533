"""What the server keeps on disk: conversations, traces, feedback, uploads, and turns that wait for approval."""
