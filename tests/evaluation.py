"""A small world for tests of the harness: documents with one fact each, and a reader that finds it if it is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llmkit import config
from llmkit.evaluation.tasks.task import Task
from llmkit.models import chat
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline

CITIES = "Bern Oslo Lima Quito Cairo Delhi Hanoi Paris Rome Tokyo Accra Dakar Minsk Riga Sofia Tunis".split()


def fact(n: int) -> str:
    return f"{CITIES[n % len(CITIES)]} {1000 + n}"


def write_world(folder: Path, count: int = 12, *, answers: bool = True) -> Path:
    """corpus.jsonl and questions.jsonl: where was gadget N made?"""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "corpus.jsonl").open("w") as corpus, (folder / "questions.jsonl").open("w") as questions:
        for n in range(count):
            text = f"The gadget number g{n} is blue. The gadget g{n} was made in {fact(n)}. It weighs little."
            corpus.write(json.dumps({"id": f"d{n}", "title": f"Gadget g{n}", "text": text}) + "\n")
            row = {"id": f"q{n}", "question": f"Where was the gadget g{n} made?", "relevant": [f"d{n}"]}
            questions.write(json.dumps({**row, "answers": [fact(n)] if answers else []}) + "\n")
    return folder


def make_task(folder: Path, **changes) -> Task:
    values = {
        "name": "world",
        "dataset": {"type": "qa", "path": str(folder)},
        "encoder": "hashing",
        "metrics": ["answer", "abstention", "citations"],
        "primary": "contains",
        **changes,
    }
    return config.Config(values).build(Task)


def reader(messages) -> str:
    """Answers from the passages of the prompt, with the number of the passage that says it."""
    text = messages[-1].text
    asked = re.search(r"Where was the gadget (g\d+) made", text).group(1)
    for number, passage in re.findall(r"\[(\d+)\] (.*?)(?=\n\n\[\d+\]|\n\nQuestion|\Z)", text, re.DOTALL):
        found = re.search(rf"(The gadget {asked} was made in \w+ \d+)", passage)
        if found:
            return f"{found.group(1)} [{number}]."
    return "Not found in these documents."


def install(monkeypatch, script=reader) -> ScriptedChat:
    """Make `scripted:reader` this script; gives the model, which keeps its calls."""
    model = ScriptedChat(script)
    from llmkit.models import caching_chat

    monkeypatch.setattr(caching_chat, "load_chat", lambda spec: model)
    monkeypatch.setattr(chat, "load_chat", lambda spec: model)
    return model


def make_pipeline(**changes) -> Pipeline:
    values = {
        "name": "reading",
        "model": "scripted:reader",
        "steps": [{"type": "retrieve", "k": 3}, "answer", "ground"],
        **changes,
    }
    return config.Config(values).build(Pipeline)
