"""Untrusted Python, run where it can do no harm: one way in, :class:`~llmkit.sandbox.sandbox.Sandbox`."""

from __future__ import annotations

from llmkit.sandbox.sandbox import Outcome, Sandbox

__all__ = ["Outcome", "Sandbox"]
