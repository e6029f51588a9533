"""What a server keeps on disk: sessions, traces, feedback, uploads, pending approvals."""
