"""Plain HTML for notebooks: every value is escaped, nothing is styled beyond a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, caption: str = "") -> str:
    """An HTML table; numbers are shown with at most four significant digits, long texts are cut at 300 characters."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(_cell(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{name}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def mapping(values: Mapping[str, object], *, caption: str = "") -> str:
    """A table of two columns: names and values; what is empty or None is left out."""
    return table(("", ""), [(key, value) for key, value in values.items() if value not in (None, "", (), [], {})],
                 caption=caption)  # fmt: skip


def paragraph(text: str) -> str:
    """A paragraph that keeps its line breaks."""
    return f"<p style='white-space: pre-wrap'>{escape(text)}</p>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None:
        return ""
    text = str(value)
    return text if len(text) <= 300 else text[:300] + "…"
