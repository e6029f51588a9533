"""E-mail (.eml): the plain body, or else the HTML one; attachments that can be read are read as parts."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

from llmkit.errors import DataError
from llmkit.text.formats.content import Content
from llmkit.text.formats.draft import Draft
from llmkit.text.formats.limits import Unreadable
from llmkit.text.formats.markup.html import add_html
from llmkit.text.formats.text import paragraphs
from llmkit.text.loading.decoding import decode

_MAX_ATTACHMENTS = 100


def read(content: Content) -> Draft:
    """The subject is the title; sender, recipients and date are metadata.

    Raises:
        Unreadable: Never; a broken message is read as far as it goes.
    """
    message = email.message_from_bytes(content.data, policy=email.policy.default)
    assert isinstance(message, EmailMessage)  # the policy's own class
    draft = Draft()
    draft.title = _header(message, "subject")
    for key in ("from", "to", "cc"):
        if _header(message, key):
            draft.metadata[key] = _header(message, key)
    date = _date(message)
    if date:
        draft.metadata["date"] = date
    body = _body(message)
    if body is not None:
        _add(draft, body)
    attachments = [part for part in message.walk() if part is not body and _filename(part)]
    for i, part in enumerate(attachments):
        if i == _MAX_ATTACHMENTS:
            draft.note(f"{len(attachments) - i} more attachments not read")
            break
        _attach(draft, part, content)
    return draft


def _body(message: EmailMessage) -> EmailMessage | None:
    """The plain text body, else the HTML one."""
    found: dict[str, EmailMessage] = {}
    for part in message.walk():
        if (
            part.get_content_type() in ("text/plain", "text/html")
            and not _filename(part)
            and isinstance(part, EmailMessage)
            and _payload(part).strip()
        ):
            found.setdefault(part.get_content_type(), part)
    return found.get("text/plain") or found.get("text/html")


def _add(draft: Draft, part: EmailMessage) -> None:
    declared = part.get_content_charset("") or ""
    try:
        decoded = decode(_payload(part), declared)
    except DataError as error:
        draft.note(f"the body cannot be read: {error}")
        return
    for note in decoded.notes:
        draft.note(note)
    if part.get_content_type() == "text/html":
        title = draft.title
        add_html(draft, decoded.text)
        draft.title = title or draft.title
        return
    text = decoded.text.replace("\r\n", "\n").strip()
    paragraphs(draft, text, draft.verbatim(text))


def _attach(draft: Draft, part: EmailMessage, content: Content) -> None:
    from llmkit.text.formats import read as read_any

    name = _filename(part)
    if content.depth:
        draft.note(f"attachment {name!r} of an attached message not read")
        return
    try:
        data = part.get_payload(0).as_bytes() if part.is_multipart() else _payload(part)  # type: ignore[union-attr]
        if not data:
            raise Unreadable("empty", "it is empty")
        _, documents = read_any(Content(data, name, f"{content.id}/{name}", content.limits, depth=1))
    except Unreadable as error:
        draft.note(f"attachment {name!r} not read: {error}")
        return
    except MemoryError:
        raise
    except Exception as error:
        draft.note(f"attachment {name!r} not read: {type(error).__name__}")
        return
    for document in documents:
        draft.embed(document, name)
        for note in document.notes:
            draft.note(f"attachment {name!r}: {note}")


def _payload(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _filename(part: object) -> str:
    assert isinstance(part, EmailMessage)
    try:
        name = part.get_filename() or ""
    except (LookupError, ValueError, TypeError, AttributeError):  # the header parser fails on some broken headers
        name = ""
    if not name and part.get_content_type() == "message/rfc822":
        return "message.eml"
    return re.sub(r"[\x00-\x1f/\\]", "_", name)[:200]


def _header(message: EmailMessage, key: str) -> str:
    try:
        return " ".join(str(message.get(key, "")).split())
    except (
        LookupError,
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
    ):  # the header parser fails on some broken headers
        return ""


def _date(message: EmailMessage) -> str:
    try:
        return parsedate_to_datetime(_header(message, "date")).date().isoformat()
    except (ValueError, TypeError, IndexError):
        return ""
