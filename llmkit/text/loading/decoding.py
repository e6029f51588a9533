"""Bytes into text: byte order marks, UTF-8, UTF-16 without a mark, then a measured guess that is said aloud."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from llmkit.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 256 * 1024
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f]")
_MAX_CONTROL = 0.02  # share of control characters above which bytes are no text
_CJK = ("cp932", "euc_jp", "gb18030", "big5", "euc_kr")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text and how it was had."""

    text: str
    encoding: str
    notes: tuple[str, ...] = ()


def decode(data: bytes, declared: str = "") -> Decoded:
    """The text of `data`, without a byte order mark.

    Args:
        data: The whole content.
        declared: Encoding the content names itself (HTML, XML, mail); used where it fits.

    Raises:
        DataError: The bytes are not text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _checked(data[len(mark) :], encoding)
    if re.search(rb"\x1b\$[@B]", data[:_SAMPLE]) and all(byte < 0x80 for byte in data[:_SAMPLE]):
        return _checked(data, "iso2022_jp", "encoding guessed: iso2022_jp")
    wide = _wide(data[:_SAMPLE])
    if wide:
        return _checked(data, wide, f"encoding guessed: {wide} (no byte order mark)")
    try:
        return _textual(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        broken = error
    if declared and _known(declared) not in ("", "utf-8", "ascii"):
        return _checked(data, _known(declared))
    nearly = data.decode("utf-8", "replace")
    bad, good = nearly.count("\ufffd"), sum(map(len, re.findall("[\u0080-\ufffc]+", nearly)))
    if bad <= 3 and (good > 10 * bad or broken.start > len(data) - 4) and good:
        return _textual(nearly, "utf-8", f"{bad} broken UTF-8 characters replaced")
    guess = _guess(data)
    return _checked(data, guess, f"encoding guessed: {guess}")


def _checked(data: bytes, encoding: str, *notes: str) -> Decoded:
    text = data.decode(encoding, "replace")
    bad = text.count("\ufffd")
    if bad:
        notes = (*notes, f"{bad} characters could not be read as {encoding} and were replaced")
    if bad > max(10, len(text) // 50):
        raise DataError(f"the bytes are not text: {bad} characters cannot be read as {encoding}")
    return _textual(text, encoding, *notes)


def _textual(text: str, encoding: str, *notes: str) -> Decoded:
    """The text, or the finding that it is none."""
    sample = text[:_SAMPLE]
    control = len(_CONTROL.findall(sample))
    if control > max(2, _MAX_CONTROL * len(sample)):
        raise DataError("the bytes are not text")
    nul = text.count("\0")
    if nul:
        text = text.replace("\0", " ")
        notes = (*notes, f"{nul} NUL characters read as spaces")
    if any("\ud800" <= char <= "\udfff" for char in set(text)):
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
        notes = (*notes, "halves of surrogate pairs replaced")
    return Decoded(text, encoding, notes)


def _wide(sample: bytes) -> str:
    """UTF-16 or UTF-32 without a mark, told by where the zero bytes are."""
    if len(sample) < 4 or b"\0" not in sample:
        return ""
    sample = sample[: len(sample) // 2 * 2]
    zeros = [sample[i::4].count(0) / len(sample[i::4]) for i in range(4)]
    if min(zeros[1:]) > 0.4 and zeros[0] < 0.1:
        return "utf-32-le"
    if min(zeros[:3]) > 0.4 and zeros[3] < 0.1:
        return "utf-32-be"
    foreign = len(re.findall(rb"[\x01-\x08\x0e-\x1f\x80-\xff]", sample)) / len(sample)  # bytes ASCII text has none of
    even, odd = (2 * sample[i::2].count(0) / len(sample) for i in range(2))
    for encoding, zero, other in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        # text in other scripts has zero bytes only beside its spaces, line ends and digits
        if zero > 0.4 and other < 0.05:
            return encoding
        if zero > 0.005 and other <= 2 * zero and foreign > 0.05 and _plausible(sample, encoding):
            return encoding
    return ""


def _plausible(sample: bytes, encoding: str) -> bool:
    text = sample.decode(encoding, "replace")
    odd = sum(not (char.isalnum() or char.isspace() or char.isprintable()) or char == "\ufffd" for char in text)
    return odd < len(text) / 100


def _known(name: str) -> str:
    """The codec's own name, or nothing where Python has no such text codec; web pages' Latin-1 is Windows-1252."""
    try:
        info = codecs.lookup(name.strip().lower())
        "x".encode(info.name)
    except (LookupError, ValueError, TypeError, UnicodeError):
        return ""
    if info.name in ("iso8859-1", "ascii"):
        return "cp1252"
    return {"shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030"}.get(info.name, info.name)


def _guess(data: bytes) -> str:
    """An encoding for bytes that are not UTF-8."""
    sample = data[:_SAMPLE]
    if not any(byte >= 0x80 for byte in sample):
        high = next(i for i, byte in enumerate(data) if byte >= 0x80)
        sample = data[max(0, high - _SAMPLE // 2) : high + _SAMPLE // 2]
    if sample.count(0) > len(sample) // 1000:
        raise DataError("the bytes are not text")
    guess = _asian(sample) or ("cp1252" if _western(sample) else "")
    if guess:
        return guess
    from charset_normalizer import from_bytes

    found = [match.encoding for match in from_bytes(sample, threshold=0.3)]
    if not found:
        raise DataError("the bytes are not text in any known encoding")
    return found[0]


def _western(sample: bytes) -> bool:
    """Whether the bytes above ASCII are mostly letters and punctuation as Windows-1252 has them, among ASCII ones."""
    text = sample.decode("cp1252", "replace")
    high = [char for char in text if char > "\x7f"]
    usual = sum((char.isalpha() and char not in "ƒˆ") or char in "–—‘’“”„…•€£§°«»¿¡·´\xa0©®™²½¼¾×" for char in high)
    eastern = sum(char in "ðþýÐÞÝ" for char in high)  # where Turkish and Czech letters stand in sister code pages
    return usual >= 0.9 * len(high) and len(high) < 0.3 * len(text) and eastern <= 0.3 * len(high)


def _asian(sample: bytes) -> str:
    """The East Asian encoding that gives mostly kana, common ideographs and hangul, if one does."""
    best, best_score = "", 0.0
    for encoding in _CJK:
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            text = decoder.decode(sample)
        except UnicodeDecodeError:
            continue
        high = [char for char in text if char > "\x7f"]
        beside = len(re.findall("[A-Za-z][\u0080-\uffff]|[\u0080-\uffff][A-Za-z]", text))
        if not high or beside > 0.3 * len(high):  # accented letters inside Latin words, read two bytes at a time
            continue
        score = sum(_weight(char, encoding) for char in high) / len(high)
        if score > best_score:
            best, best_score = encoding, score
    return best if best_score >= 0.6 else ""


def _weight(char: str, encoding: str) -> float:
    if "\u3041" <= char <= "\u30ff" and char != "\u30fb":
        return 1.2 if encoding in ("cp932", "euc_jp") else 0.3
    if "\uac00" <= char <= "\ud7a3":
        return 1.1 if encoding == "euc_kr" else 0.0
    if char in "、。「」，！？：；（）・ー　《》“”":
        return 1.0
    if "\u4e00" <= char <= "\u9fff":
        return _common(char)
    return 0.5 if "\uff01" <= char <= "\uff5e" else -0.5


def _common(char: str) -> float:
    """Ideographs of the first level of a national standard, those in daily use, are worth more than rare ones."""
    for standard, second_level in (("gb2312", 0xD8), ("euc_jp", 0xD0), ("big5", 0xC9)):
        try:
            if char.encode(standard)[0] < second_level:
                return 0.9
        except UnicodeEncodeError:
            continue
    return 0.1
