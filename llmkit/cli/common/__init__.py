"""What several commands share: output, progress, approvals."""
