"""Code that several commands share: options, output, progress, question files, approvals."""
