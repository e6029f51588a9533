"""Bilingual dictionaries: an encoder reads a word that it does not know through the word's translations.

::

    verteidigung   defense    17.1   ┐   becomes a token; its embedding is the weighted mean of the embeddings of its
    verteidigung   defence    13.4   ┘   translations' word pieces, scaled to their average length

No weight of the encoder changes, so a text without such a word keeps its vector. Only whole words become tokens, so
that every other word keeps its word pieces. WECHSEL (Minixhofer et al. 2022) carries vocabularies to another language
in this way, with aligned vectors in place of a dictionary and with training afterwards. Nothing is trained here.
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
"""Translations of a word with their weights."""
_SEPARATOR = "\N{BROKEN BAR}"
"""No word contains it, and a tokenizer's normalizer does not change it."""
_BUNDLED = Path(__file__).parent / "dictionaries"


@dataclass(frozen=True)
class Translations:
    """Words with their translations into the language of the encoder."""

    dictionaries: tuple[Mapping[str, Senses], ...]
    """Translations by word. A later dictionary replaces the translations of an earlier one."""
    digest: str
    """SHA-256 of the dictionaries, hex."""

    def add_tokens(self, tokenizer: Any) -> dict[int, Senses]:
        """Add every word to the tokenizer, as the tokenizer normalizes it.

        Words of one dictionary that normalize alike become one token with all of their translations.

        Returns:
            Translations by token id. A new word gets an id after the vocabulary. A word that is a token already keeps
            its id and gets this meaning, also where the token begins a longer word.

        Raises:
            ModelError: the tokenizer is not WordPiece or WordLevel.
        """
        from tokenizers import AddedToken

        kind = type(tokenizer.model).__name__
        if kind not in ("WordPiece", "WordLevel"):  # in others, the pieces of a word depend on the text before it
            raise ModelError(
                f"dictionaries need an encoder with a WordPiece tokenizer, such as BERT's; this one is {kind}"
            )
        normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
        normalized_words: dict[str, Senses] = {}
        for one in self.dictionaries:
            forms = normalize(_SEPARATOR.join(one)).split(_SEPARATOR)  # one call: fifty thousand are slow
            here: dict[str, Senses] = {}
            for form, senses in zip(forms, one.values(), strict=True):
                here[form.strip()] = here.get(form.strip(), ()) + senses
            normalized_words |= here
        normalized_words.pop("", None)
        new = [form for form in normalized_words if tokenizer.token_to_id(form) is None]
        tokenizer.add_tokens([AddedToken(form, single_word=True, normalized=True) for form in new])
        return {tokenizer.token_to_id(form): senses for form, senses in normalized_words.items()}

    def extend_embeddings(self, table: NDArray[Any], tokenizer: Any) -> NDArray[Any]:
        """Append the embeddings of the words to the encoder's word embeddings.

        Args:
            table: word embeddings, (vocabulary, hidden); not changed.
            tokenizer: the encoder's tokenizer, without the words; not changed.

        Returns:
            (vocabulary + new words, hidden), with the dtype of the table.

        Raises:
            ModelError: the tokenizer is not WordPiece or WordLevel.
            DataError: a translation is not in the vocabulary of the encoder.
        """
        from tokenizers import Tokenizer

        translations = self.add_tokens(Tokenizer.from_str(tokenizer.to_str()))
        texts = list(dict.fromkeys(text for senses in translations.values() for text, _ in senses))
        unknown_id = tokenizer.token_to_id(tokenizer.model.unk_token)
        means: dict[str, tuple[NDArray[np.float32], float]] = {}
        for text, found in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
            if not found.ids or unknown_id in found.ids:
                raise DataError(
                    f"the encoder does not know the translation {text!r}: write it in the encoder's language"
                )
            rows = table[found.ids].astype(np.float32)
            means[text] = rows.mean(0), float(np.linalg.norm(rows, axis=1).mean())
        extended = np.zeros((max(len(table), max(translations, default=0) + 1), table.shape[1]), table.dtype)
        extended[: len(table)] = table
        for row, senses in translations.items():
            weights = np.array([weight for _, weight in senses])
            weights /= weights.max()  # first, so that the sum stays finite
            weights /= weights.sum()
            mean = weights @ np.stack([means[text][0] for text, _ in senses])
            length = float(weights @ [means[text][1] for text, _ in senses])
            extended[row] = mean * (length / max(float(np.linalg.norm(mean)), 1e-12))
        return extended


def read_dictionaries(dictionaries: Sequence[str]) -> Translations:
    """Read dictionaries; a later one replaces the translations of an earlier one.

    Args:
        dictionaries: names of dictionaries that come with llmkit, or TSV files. A line holds a word, a translation and
            optionally a weight. A word with several translations has several lines. Lines that begin with # are
            comments.

    Raises:
        DataError: a dictionary is missing, or one of its lines is wrong; the message names it.
    """
    parsed: list[Mapping[str, Senses]] = []
    digest = hashlib.sha256()
    for name in dictionaries:
        file = _file(name)
        content = file.read_bytes()
        digest.update(hashlib.sha256(content).digest())
        senses: dict[str, list[tuple[str, float]]] = {}
        for word, text, weight in _lines(file, content):
            senses.setdefault(word, []).append((text, weight))
        if not senses:
            raise DataError(f"{file} has no word: a line is WORD<tab>TRANSLATION")
        parsed.append({word: tuple(several) for word, several in senses.items()})
    return Translations(tuple(parsed), digest.hexdigest())


def absolute_paths(names: tuple[str, ...]) -> tuple[str, ...]:
    """Make the paths of files absolute, so that they are found from another folder; bundled names stay as they are."""
    whole = (Path(name).expanduser() for name in names)
    return tuple(str(path.resolve()) if path.is_file() and name not in bundled_dictionaries() else name
                 for name, path in zip(names, whole, strict=True))  # fmt: skip


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Dictionaries = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(absolute_paths)]
"""Names of dictionaries that come with llmkit, or TSV files; a single one needs no brackets in YAML."""


def bundled_dictionaries() -> list[str]:
    """Names of the dictionaries that come with llmkit, sorted."""
    return sorted(file.stem for file in _BUNDLED.glob("*.tsv"))


def missing_dictionary_note(encoder: Any, language: str) -> str:
    """A note if llmkit has a dictionary for `language` and the encoder does not use it; otherwise an empty string."""
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
