"""The questions that a trained folder has seen, as digests in the folder, so that it is never judged by them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from llmkit.errors import DataError
from llmkit.training.data.examples import Example, key

FILE = "learnt.txt"
"""File with the digest of each training and dev question, one a line."""
_SHOWN = 5


def write(folder: Path, examples: Iterable[Example]) -> None:
    """Put the digests of the questions into a folder."""
    digests = sorted({_digest(one.query) for one in examples})
    (folder / FILE).write_text("".join(f"{digest}\n" for digest in digests), encoding="utf-8")


def refuse(encoder: object, examples: Sequence[Example]) -> None:
    """A gate on questions that a candidate was trained with, or stopped by, is no gate.

    Args:
        encoder: a candidate; one whose folder holds no digests is not from here, and let pass.
        examples: questions it shall be judged by.

    Raises:
        DataError: names some of the questions it has seen.
    """
    file = Path(str(getattr(encoder, "model", ""))).expanduser() / FILE
    if not file.is_file():
        return
    seen = set(file.read_text(encoding="utf-8").split())
    same = [one for one in examples if _digest(one.query) in seen]
    if same:
        shown = "".join(f"\n  {one.place}: {one.query[:80]!r}" for one in same[:_SHOWN])
        more = f"\n  … and {len(same) - _SHOWN} more" if len(same) > _SHOWN else ""
        raise DataError(
            f"{len(same)} of {len(examples)} questions are in the training or dev data of {file.parent}: a gain on "
            f"them proves nothing; give questions it has not seen{shown}{more}"
        )


def _digest(query: str) -> str:
    return hashlib.sha256(key(query).encode()).hexdigest()[:16]
