"""Words that an encoder does not know, read through the translations a dictionary gives for them.

::

    verteidigung   defense    17.1   ┐   token of its own, whose embedding is the weighted mean of its translations'
    verteidigung   defence    13.4   ┘   word pieces, at the length that those have on average

No weight of the encoder changes: a text without such a word has the vector it always had. Only whole words are taken,
so that no other word falls into other pieces. Vocabularies are carried from one language to another in this way by
Minixhofer et al. 2022 (WECHSEL), with aligned vectors in the place of a dictionary, and trained on afterwards; here
nothing is trained.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator

from llmkit.errors import DataError, ModelError, unknown

Senses = tuple[tuple[str, float], ...]
"""Translations of a word, and their weights."""
_SEPARATOR = "\N{BROKEN BAR}"
"""No word has it; a tokenizer spells it as it is."""
_BUNDLED = Path(__file__).parent / "dictionaries"


@dataclass(frozen=True)
class Translations:
    """Words and what they mean in the encoder's own language."""

    dictionaries: tuple[Mapping[str, Senses], ...]
    """Translations by word; what a later one says of a word holds."""
    digest: str
    """SHA-256 of the dictionaries, hex."""

    def add_tokens(self, tokenizer: Any) -> dict[int, Senses]:
        """Make every word a token of the tokenizer, in the tokenizer's own spelling.

        Words of one dictionary that it spells alike are one, with the translations of all.

        Returns:
            Translations by id: behind the vocabulary, or that of a token that was there and has this meaning from now
            on, also where it begins a longer word.

        Raises:
            ModelError: another tokenizer.
        """
        from tokenizers import AddedToken

        kind = type(tokenizer.model).__name__
        if kind not in ("WordPiece", "WordLevel"):  # others cut a text by what stands before it
            raise ModelError(f"dictionaries need an encoder with a WordPiece tokenizer, as BERT's; this one is {kind}")
        spell = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
        spelled: dict[str, Senses] = {}
        for one in self.dictionaries:
            forms = spell(_SEPARATOR.join(one)).split(_SEPARATOR)  # one call: fifty thousand take long
            here: dict[str, Senses] = {}
            for form, senses in zip(forms, one.values(), strict=True):
                here[form.strip()] = here.get(form.strip(), ()) + senses
            spelled |= here
        spelled.pop("", None)
        new = [form for form in spelled if tokenizer.token_to_id(form) is None]
        tokenizer.add_tokens([AddedToken(form, single_word=True, normalized=True) for form in new])
        return {tokenizer.token_to_id(form): senses for form, senses in spelled.items()}

    def extend_embeddings(self, table: NDArray[Any], tokenizer: Any) -> NDArray[Any]:
        """The encoder's word embeddings with the words among them.

        Args:
            table: (vocabulary, hidden); is not changed.
            tokenizer: of the encoder, not taught yet; is not changed.

        Returns:
            (vocabulary + new words, hidden), of the table's type.

        Raises:
            ModelError: a tokenizer of another kind than WordPiece.
            DataError: a translation that the encoder cannot read.
        """
        from tokenizers import Tokenizer

        taught = self.add_tokens(Tokenizer.from_str(tokenizer.to_str()))
        texts = list(dict.fromkeys(text for senses in taught.values() for text, _ in senses))
        hole = tokenizer.token_to_id(tokenizer.model.unk_token)
        means: dict[str, tuple[NDArray[np.float32], float]] = {}
        for text, found in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
            if not found.ids or hole in found.ids:
                raise DataError(
                    f"the encoder does not read the translation {text!r}: write it in the encoder's language"
                )
            rows = table[found.ids].astype(np.float32)
            means[text] = rows.mean(0), float(np.linalg.norm(rows, axis=1).mean())
        made = np.zeros((max(len(table), max(taught, default=0) + 1), table.shape[1]), table.dtype)
        made[: len(table)] = table
        for row, senses in taught.items():
            weights = np.array([weight for _, weight in senses])
            weights /= weights.max()  # first: a sum of great ones is infinite
            weights /= weights.sum()
            mean = weights @ np.stack([means[text][0] for text, _ in senses])
            length = float(weights @ [means[text][1] for text, _ in senses])
            made[row] = mean * (length / max(float(np.linalg.norm(mean)), 1e-12))
        return made


def read_dictionaries(dictionaries: Sequence[str]) -> Translations:
    """The words of dictionaries; what a later one says of a word holds.

    Args:
        dictionaries: names of those that come with llmkit, or TSV files: word, translation, and by choice a weight;
            a word with several translations has several lines. Lines that begin with # are left out.

    Raises:
        DataError: no such dictionary, or a line that is none; says which.
    """
    made: list[Mapping[str, Senses]] = []
    seen = hashlib.sha256()
    for name in dictionaries:
        file = _file(name)
        content = file.read_bytes()
        seen.update(hashlib.sha256(content).digest())
        found: dict[str, list[tuple[str, float]]] = {}
        for word, text, weight in _lines(file, content):
            found.setdefault(word, []).append((text, weight))
        if not found:
            raise DataError(f"{file} has no word: a line is WORD<tab>TRANSLATION")
        made.append({word: tuple(several) for word, several in found.items()})
    return Translations(tuple(made), seen.hexdigest())


def absolute_paths(names: tuple[str, ...]) -> tuple[str, ...]:
    """Files by their whole path, so that they are found from another folder, too; other names as they are."""
    whole = (Path(name).expanduser() for name in names)
    return tuple(str(path.resolve()) if path.is_file() and name not in bundled_dictionaries() else name
                 for name, path in zip(names, whole, strict=True))  # fmt: skip


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Dictionaries = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(absolute_paths)]
"""Names of dictionaries that come with llmkit, or TSV files; one may stand without brackets."""


def bundled_dictionaries() -> list[str]:
    """Names of the dictionaries that come with llmkit."""
    return sorted(file.stem for file in _BUNDLED.glob("*.tsv"))


def missing_dictionary_note(encoder: Any, language: str) -> str:
    """What the user should know of an encoder without the dictionary of a language that there is one of; or nothing."""
    words = getattr(encoder, "words", None)
    if words is None or language not in bundled_dictionaries() or language in words:
        return ""
    spec = f"words: [{', '.join((language, *words))}]"
    return f"the encoder reads no {language}: in a new knowledge base, `{spec}` in --encoder lets it read the words"


def _file(name: str) -> Path:
    if name in bundled_dictionaries():
        return _BUNDLED / f"{name}.tsv"
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise DataError(
            f"there is no dictionary at {path}: a knowledge base needs the file where it was, and as it was"
        )
    raise DataError(f"{unknown('dictionary', name, bundled_dictionaries())}, or give the path of a TSV file")


def _lines(file: Path, content: bytes) -> Iterator[tuple[str, str, float]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8: save it so ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#") or not line or line.isspace():
            continue
        word, _, rest = line.partition("\t")
        translation, _, weight = rest.partition("\t")
        word, translation = word.strip(), translation.strip()
        try:
            counts = float(weight) if weight else 1.0
        except ValueError:
            counts = -1.0
        if any(cell[:1] == cell[-1:] == '"' for cell in (word, translation)):
            raise DataError(f"{file} line {number}: save it without quotation marks, which would belong to the word")
        if not word or _SEPARATOR in word or not translation or "\t" in weight:
            raise DataError(f"{file} line {number}: WORD<tab>TRANSLATION<tab>WEIGHT is asked for, not {line[:80]!r}")
        if not 0 < counts < math.inf:
            raise DataError(f"{file} line {number}: a weight is a number above 0, not {weight!r}")
        yield word, translation, counts
