"""Finds keys, tokens and passwords in a text, by the formats of their issuers and by the names before them.

A prompt is a short text that people read, so a table of formats is enough. A secret is never shown in full.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

_FORMATS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "API key of a model provider": r"\bsk-(?:[a-z]+[0-9]*-)*[A-Za-z0-9_-]{20,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "Google API key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{16,}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@$]+:(?P<secret>[^\s/:@$]{3,})@",
}
_PATTERNS = [(name, re.compile(form)) for name, form in _FORMATS.items()]
_NAMED = re.compile(
    r"(?i)\b(?:[\w-]*(?:api[_-]?key|secret|passw(?:or)?d|access[_-]?token|auth[_-]?token)[\w-]*)[\"']?\s*[:=]\s*"
    r"[\"']?(?P<secret>[^\s\"'$<>{}]{8,})"
)
_BEARER = re.compile(r"(?i)\bbearer\s+(?P<secret>[A-Za-z0-9._~+/-]{16,}=*)")
_MIN_ENTROPY = 2.8  # bits a character; words repeat their letters, keys hardly do


def find_secrets(text: str) -> Iterator[tuple[int, str, str]]:
    """Line (from 1), kind and first characters of each text that looks like a secret."""
    reported: list[tuple[int, int]] = []
    matches = [(match, name) for name, pattern in _PATTERNS for match in pattern.finditer(text)]
    matches += [(match, "password or key") for match in _NAMED.finditer(text) if _looks_random(match["secret"])]
    matches += [(match, "bearer token") for match in _BEARER.finditer(text) if _looks_random(match["secret"])]
    for match, name in matches:
        start, end = match.span("secret" if "secret" in match.re.groupindex else 0)
        if not any(a < end and start < b for a, b in reported):
            reported.append((start, end))
            yield text.count("\n", 0, start) + 1, name, f"{text[start : min(end, start + 4)]}…"


def _looks_random(text: str) -> bool:
    """Whether a text looks generated: several kinds of characters, and high entropy. An ellipsis is a placeholder."""
    if "…" in text or "..." in text:
        return False
    kinds = sum(bool(re.search(kind, text)) for kind in ("[a-z]", "[A-Z]", "[0-9]", r"[^A-Za-z0-9]"))
    counts = Counter(text)
    bits = -math.fsum(n / len(text) * math.log2(n / len(text)) for n in counts.values())
    return kinds >= 2 and bits >= min(_MIN_ENTROPY, 0.9 * math.log2(len(text)))
