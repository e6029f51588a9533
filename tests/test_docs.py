"""What the documentation says, run."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from llmkit import config
from llmkit.evaluation.tasks.task import Task
from llmkit.experiments.experiment import Experiment, arms_of
from llmkit.experiments.optimise.search import check_search
from llmkit.pipeline import Pipeline
from llmkit.training.lora.recipe import LoraRecipe
from llmkit.training.retriever.recipe import RetrieverRecipe

PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list:
    return [
        pytest.param(code, id=f"{page.stem}-{n}")
        for page in PAGES
        for n, (kind, code) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
        if kind == language and page.name != "python.md"  # its blocks build on one another: test_docs_python runs them
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("code", snippets("yaml"))
def test_yaml_in_the_documentation_is_valid(code, monkeypatch):
    text = code
    if "\nvary:" in text or "\narms:" in text:
        arms_of(config.parse(text).build(Experiment))
        return
    if "type: optimise" in text:
        check_search(config.parse(text).build(Experiment))
        return
    if text.startswith("recipe: retriever"):
        config.parse(text).build(RetrieverRecipe)
        return
    if "recipe: lora" in text:
        config.parse(text).build(LoraRecipe)
        return
    if "\ndataset:" in text:
        config.parse(text).build(Task)
        return
    if not text.lstrip().startswith("name:"):
        if text.startswith("model:"):
            text = f"name: x\n{text}steps: [retrieve]\n"
        else:
            text = "name: x\nsteps:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    config.parse(text).build(Pipeline)


@pytest.mark.slow
@pytest.mark.parametrize("code", snippets("python"))
def test_python_in_the_documentation_runs(code, tmp_path, weights_home):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Warranty\n\nThe warranty excludes damage by water.\n")
    (tmp_path / "manual.pdf").write_text("A text that was named wrongly.")
    for name in ("papers", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").write_text("The pump is serviced in May.")
    code = code.replace('"~/', f'"{tmp_path}/').replace("return MyEncoder()", "return None")
    if 'knowledge="kb"' in code:
        ingest = [sys.executable, "-m", "llmkit", "ingest", "docs", "--into", "kb"]
        subprocess.run(ingest, cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
