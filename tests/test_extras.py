"""What plain `pip install llmkit` can do without any extra, and what it says where an extra is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from conftest import REPOSITORY

from llmkit.errors import MissingExtra
from llmkit.extras import OPTIONAL, optional

BLOCK = f"""
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(OPTIONAL)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Absent())
"""


def without_extras(code: str, folder) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process in which no optional package can be imported, nor in the processes it starts."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join([str(folder / "site"), str(REPOSITORY)])
    run = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=100)


def test_the_base_install_ingests_searches_and_quotes(tmp_path):
    (tmp_path / "pump.md").write_text("# Pump\n\nThe warranty of the pump excludes seals.\n\n# Mill\n\nIt is green.\n")
    (tmp_path / "page.html").write_text("<h1>Valve</h1><p>The valve opens at nine bar.</p>")
    (tmp_path / "sheet.xlsx").write_bytes(workbook())
    done = without_extras(
        """
from llmkit import KnowledgeBase, load_pipeline
from llmkit.encoders.hashing import HashingEncoder

with KnowledgeBase.create("kb", encoder=HashingEncoder()) as kb:
    summary = kb.ingest(["pump.md", "page.html", "sheet.xlsx"])
    (problem,) = summary.problems
    assert problem[1] == "unsupported" and "pip install 'llmkit[office]'" in problem[2], problem
with KnowledgeBase.open("kb") as kb:
    answer = load_pipeline("docs-qa").with_knowledge(kb).run("What does the warranty of the pump exclude?").answer
    assert "seals" in answer.text and answer.citations, answer
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_needed_an_extra_is_read_once_the_extra_is_there(tmp_path):
    from llmkit import KnowledgeBase

    (tmp_path / "sheet.xlsx").write_bytes(workbook())
    code = """
from llmkit import KnowledgeBase
from llmkit.encoders.hashing import HashingEncoder
KnowledgeBase.create("kb", encoder=HashingEncoder()).ingest(["sheet.xlsx"])
"""
    assert without_extras(code, tmp_path).returncode == 0
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert not kb.ingest([tmp_path / "sheet.xlsx"]).problems
        assert kb.count


def test_the_base_install_loads_a_model_behind_an_openai_compatible_server(tmp_path):
    code = """
import os
os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"] = "http://127.0.0.1:9/v1", "none"
from llmkit.models.chat import load_chat
load_chat("openai:any")
"""
    done = without_extras(code, tmp_path)
    assert done.returncode == 0, done.stderr


CONVERT = """
from llmkit.agents.tools.calculator_clock_units import Convert
Convert().tools()[0].call({"value": 1, "from": "mile", "to": "km"}, None)
"""
MODEL = """
from pathlib import Path
from llmkit.models.local.llamacpp import LlamaCppEngine
LlamaCppEngine(Path("model.gguf"), context=512, threads=1)
"""
NEAR_DUPLICATES = """
from llmkit import KnowledgeBase, Document
from llmkit.encoders.hashing import HashingEncoder
KnowledgeBase.create("kb", encoder=HashingEncoder(), near_duplicates=0.9).add([Document("a", "The pump is red.")])
"""
SERVE = """
import sys
from llmkit.cli import main
sys.argv = ["llmkit", "serve", "--kb", "kb"]
main()
"""


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from llmkit.evaluation.analysis.statistics import wilson; wilson(1, 2)", "eval"),
        (CONVERT, "agents"),
        ("from llmkit.pipeline.steps.answering.schemas import check_schema; check_schema({})", "structured"),
        (MODEL, "local"),
        (NEAR_DUPLICATES, "dedup"),
        (SERVE, "serve"),
    ],
    ids=lambda value: value if len(value) < 12 else "",
)
def test_a_missing_extra_names_its_pip_line(tmp_path, code, extra):
    done = without_extras(code, tmp_path)
    assert done.returncode != 0
    assert f"pip install 'llmkit[{extra}]'" in done.stderr, done.stderr


def test_an_import_error_inside_a_package_is_not_hidden():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), optional():
        import no_such_package  # noqa: F401
    with pytest.raises(MissingExtra, match=r"pip install 'llmkit\[eval\]'"), optional():
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")


def test_every_optional_package_belongs_to_an_extra_and_the_base_asks_for_few():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {extra for extra, _ in OPTIONAL.values()} <= set(project["optional-dependencies"])
    assert len(project["dependencies"]) <= 20


def workbook() -> bytes:
    import io

    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Part", "Price"])
    book.active.append(["valve", 9])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()
