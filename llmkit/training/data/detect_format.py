"""Detect the format of training data by what a file or folder contains."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, cast

from llmkit import config
from llmkit.errors import DataError
from llmkit.evaluation.tasks import rows
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.training.data.formats import Source


def detect_source(given: str) -> Source:
    """Training data from a path, or from YAML as in ``{type: beir, path: scifact, qrels: qrels/train.tsv}``.

    Raises:
        DataError: the path does not exist, or has an unknown format.
        ConfigError: the YAML is wrong.
    """
    text = given.strip()
    if text.startswith("{"):
        return cast("Source", config.build_part("examples", config.parse(f"part: {text}").values["part"]))
    path = Path(text).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist")
    return cast("Source", config.build_part("examples", _folder(path) if path.is_dir() else _file(path)))


def _folder(path: Path) -> dict[str, Any]:
    def has(name: str) -> bool:
        return (path / name).is_file() or (path / f"{name}.gz").is_file()

    if has("queries.jsonl") and has("corpus.jsonl"):
        judgements = next((n for n in ("qrels.tsv", "qrels/train.tsv") if has(n)), None)
        if judgements is None:
            raise DataError(
                f"{path} looks like BEIR but has neither qrels.tsv nor qrels/train.tsv: name it, qrels: FILE"
            )
        return {"type": "beir", "path": str(path), "qrels": judgements}
    questions = next((n for n in ("train.jsonl", "questions.jsonl") if has(n)), None)
    if has("corpus.jsonl") and questions:
        return {"type": "qa", "path": str(path), "questions": questions}
    raise DataError(f"{path} is neither a BEIR folder nor one with corpus.jsonl and train.jsonl or questions.jsonl")


def _file(path: Path) -> dict[str, Any]:
    if set(path.suffixes) & {".csv", ".tsv"}:
        return {"type": "pairs", "path": str(path)}
    if ".jsonl" in path.suffixes:
        first = next((item[1] for item in islice(rows.jsonl(path), 20) if not isinstance(item, BadRow)), {})
        if "positives" in first:
            return {"type": "mined", "path": str(path)}
        if "relevant" in first:
            return {"type": "qa", "path": str(path.parent), "questions": path.name}
        return {"type": "pairs", "path": str(path)}
    if ".json" in path.suffixes:
        return {"type": "squad" if isinstance(rows.whole(path), dict) else "dpr", "path": str(path)}
    raise DataError(f"{path}: .json, .jsonl, .csv or .tsv (also .gz), or a folder")
