"""Digests that identify a pipeline: its settings, the text of its prompts, the weights or servers of its models."""

from __future__ import annotations
