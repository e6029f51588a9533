"""Learn the dictionaries `de.tsv` and `es.tsv` of the encoder from packages.

    python benchmarks/dictionaries/make.py PACKAGES OUT

PACKAGES is the folder that fetch.sh fills, OUT the folder of the dictionaries. Prints how much each
source has. Words are taken by frequency (wordfreq); those that the encoder already reads as English are left out.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from align import align
from choose import Findings, Senses, compound, frequency
from graph import translations
from parallel import pairs
from tokenizers import Tokenizer
from wikdict import edges
from wordfreq import top_n_list, zipf_frequency

from llmkit import weights

MOST = {"de": 60_000, "es": 50_000}
"""The most frequent words of a language, which get translations."""
COMPOUNDS = 100_000
"""The most frequent German words, which get those of their parts."""
COMPOUND = 9
"""Letters of a compound among the less frequent words, at least."""
FREQUENT, MORE = 3.0, 1.5
"""Zipf frequency that an English word has; and by how much it is to be rarer than the word to give its place up."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("packages", type=Path)
    arguments.add_argument("out", type=Path)
    given = arguments.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(weights.find("minilm") / "tokenizer.json"))

    def spell(text: str) -> str:
        """As the encoder does: small letters without accents."""
        return tokenizer.normalizer.normalize_str(text).strip()

    graph = edges(given.packages)
    print(f"wikdict: {len(graph)} entries")
    listed = translations(graph, spell)
    for language in MOST:
        texts = pairs(given.packages, language)
        for source, count in Counter(texts.values()).most_common():
            words = sum(len(text.split()) for (text, _), name in texts.items() if name == source)
            print(f"{language} {source}: {count} pairs, {words} words")
        aligned = align([tuple(re.findall(r"[^\W\d_]+", spell(text)) for text in pair) for pair in texts])
        findings = Findings(language, aligned, listed[language], spell)
        found = dictionary(findings, tokenizer.get_vocab())
        write(given.out / f"{language}.tsv", language, found)
        print(f"{language}: {len(found)} words, {sum(map(len, found.values()))} translations")


def dictionary(findings: Findings, pieces: dict[str, int]) -> dict[str, Senses]:
    """Words in the encoder's spelling and their translations, the most frequent words first."""
    code = findings.language
    frequent = spelled(top_n_list(code, MOST[code]), findings.spell)
    known: dict[str, Senses] = {}
    for form, word in frequent:
        if form not in known and (senses := findings.senses(word)):
            known[form] = senses
    found: dict[str, Senses] = {}
    for form, word in frequent:
        if form in found or is_english(form, zipf_frequency(word, code), pieces):
            continue
        senses = known.get(form) or parts(code, form, known)
        if senses and senses[0][0] != form:
            found[form] = senses
    for form, word in spelled(top_n_list(code, COMPOUNDS)[MOST[code] :], findings.spell):
        if len(form) >= COMPOUND and form not in found and not is_english(form, zipf_frequency(word, code), pieces):
            senses = parts(code, form, known)
            if senses:
                found[form] = senses
    return found


def spelled(words: list[str], spell: Callable[[str], str]) -> list[tuple[str, str]]:
    """Words of two letters or more, each as the encoder spells it and as it is."""
    forms = [(spell(word), word) for word in words]
    return [(form, word) for form, word in forms if re.fullmatch(r"[^\W\d_]{2,}", form)]


def is_english(form: str, zipf: float, pieces: dict[str, int]) -> bool:
    """Whether the form is to keep what it means in English, by its frequency in either language."""
    english = frequency(form)
    if form in pieces:
        return english > FREQUENT or zipf < english + MORE
    return english >= zipf or (english >= FREQUENT and zipf < english + MORE)


def parts(code: str, form: str, known: dict[str, Senses]) -> Senses:
    """The one translation of a German compound by its parts; none else."""
    text = compound(form, known) if code == "de" else None
    return [(text, 1.0)] if text else []


def write(file: Path, language: str, found: dict[str, Senses]) -> None:
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        lines.write(
            f"# {language}: words read through their English translations; README.md says where they come from "
        )
        lines.write("(CC BY-SA 4.0)\n")
        for form, senses in found.items():
            total = sum(weight for _, weight in senses)
            lines.writelines(f"{form}\t{text}\t{weight / total:.2f}\n" for text, weight in senses)


if __name__ == "__main__":
    main()
