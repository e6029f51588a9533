"""How often the quoted sentence holds the answer, and how often `docs-qa` refuses rightly and wrongly.

    python benchmarks/answers.py [--data FOLDER] [--cache FOLDER] [--questions 300]

Weight and threshold of `extract` were chosen on NQ train and XQuAD; NQ dev and the SQuAD questions with and without
an answer are not among them.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import string
from pathlib import Path

import numpy as np
from retrieval import interval, knowledge_base, rows

from llmkit.pipeline import load_pipeline


def normal(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def line(label: str, values: list[bool]) -> None:
    numbers = np.array(values, dtype=float)
    low, high = interval(numbers)
    print(f"  {label:<44} {numbers.mean():.3f} [{low:.3f}, {high:.3f}]  n={len(numbers)}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).resolve().parent.parent
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or here.parent / "shared" / "data"
    )
    arguments.add_argument("--cache", type=Path, default=here / "benchmarks" / "results" / "knowledge")
    arguments.add_argument("--questions", type=int, default=300)
    given = arguments.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    for name, folder, file in (("nq", "qa/nq", "dev.jsonl"), ("squad", "qa/squad-unanswerable-dev", "questions.jsonl")):
        kb = knowledge_base(name, Path(given.data) / folder / "corpus.jsonl.gz", given.cache)
        pipeline = load_pipeline("docs-qa").with_knowledge(kb)
        questions = rows(Path(given.data) / folder / file)
        random.Random(1).shuffle(questions)
        print(f"{folder}, docs-qa, {kb.count} chunks")
        for answerable in (True, False):
            some = [row for row in questions if bool(row["answers"]) is answerable][: given.questions]
            if not some:
                continue
            answers = [pipeline.run(row["question"]).answer for row in some]
            if not answerable:
                line("unanswerable: refused", [answer.abstained for answer in answers])
                continue
            line("answerable: refused all the same", [answer.abstained for answer in answers])
            held = [
                any(normal(gold) and normal(gold) in normal(answer.text) for gold in row["answers"])
                for row, answer in zip(some, answers, strict=True)
                if not answer.abstained
            ]
            line("answered: the quote holds a gold answer", held)


if __name__ == "__main__":
    main()
