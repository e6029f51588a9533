"""RTF by striprtf: paragraphs, and tables as lines."""

from __future__ import annotations

from llmkit.extras import optional
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable


def read(content: Content) -> Draft:
    """A paragraph a line; styles are not told apart.

    Raises:
        Unreadable: The control words are damaged.
    """
    with optional():
        from striprtf.striprtf import rtf_to_text

    try:
        text: str = rtf_to_text(content.data.decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
    except (ValueError, LookupError, IndexError) as error:
        raise Unreadable("failed", f"damaged RTF: {error}") from error
    draft = Draft()
    table: list[str] = []
    for line in text.split("\n"):
        if line.count("|") >= 2 and line.rstrip().endswith("|"):
            table.append(line.strip().rstrip("|").replace("|", " | "))
            continue
        draft.add("\n".join(table), "table")
        table = []
        draft.add(line)
    draft.add("\n".join(table), "table")
    return draft
