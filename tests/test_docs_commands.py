"""Every command in the documentation is one that llmkit knows, with options and values that it accepts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import click
import pytest
from conftest import REPOSITORY

from llmkit.cli import cli

PAGES = sorted([REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _commands(text: str) -> list[str]:
    """The lines of shell blocks that call llmkit; a line that ends in a backslash goes on in the next."""
    lines = [
        line
        for language, block in BLOCK.findall(text)
        if language in ("", "sh", "bash", "console")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if line.startswith("llmkit ")]


def _arguments(line: str) -> list[str]:
    """The arguments after `llmkit`, up to a pipe, a redirection or a comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("|&;<>"):
            break
        words.append(word)
    return words[1:]


def _check(command: click.Command, arguments: list[str], parent: click.Context | None = None) -> None:
    """Parse arguments as the command line does; run nothing. A file that is not here is no mistake of the page."""
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=command.name, parent=parent)
        rest = click.Command.parse_args(command, context, arguments)
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, name
        _check(found, rest, context)
        return
    try:
        command.make_context(command.name, arguments, parent=parent)
    except click.exceptions.Exit:  # --help, --version
        return
    except click.BadParameter as error:
        if isinstance(error, click.MissingParameter) or "does not exist" not in error.format_message():
            raise


LINES = [
    pytest.param(line, id=f"{page.stem}-{n}")
    for page in PAGES
    for n, line in enumerate(_commands(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("line", LINES)
def test_a_documented_command_is_accepted(line):
    try:
        _check(cli, _arguments(line))
    except click.ClickException as error:
        pytest.fail(f"{line}\n{error.format_message()}")


@pytest.mark.parametrize(
    "line",
    ["llmkit askk x", "llmkit ask x --no-such-option", "llmkit train retriever", "llmkit serve --port many"],
)
def test_a_wrong_command_is_noticed(line):
    with pytest.raises(click.ClickException):
        _check(cli, _arguments(line))


def test_pages_have_commands():
    assert len(LINES) > 90


def _files_with_data_sets(line: str) -> list[str]:
    """Shipped tasks and experiments that a command names and that read the folder LLMKIT_DATA, directly or by their task."""
    named = [
        file
        for folder in ("tasks", "experiments")
        for file in sorted((REPOSITORY / "eval" / folder).glob("*.yaml"))
        if file.stem in _arguments(line)
    ]
    texts = {file.stem: file.read_text(encoding="utf-8") for file in named}
    for text in list(texts.values()):
        for task in re.findall(r"^task: ([\w-]+)$", text, re.MULTILINE):
            texts[task] = (REPOSITORY / "eval" / "tasks" / f"{task}.yaml").read_text(encoding="utf-8")
    return [name for name, text in texts.items() if "LLMKIT_DATA" in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_first_block_that_needs_a_data_set_says_so_above(page):
    text = page.read_text(encoding="utf-8")
    first = next((match for match in BLOCK.finditer(text) if _commands(match[0])), None)
    if first is None:
        return
    needs = [name for line in _commands(first[0]) for name in _files_with_data_sets(line)]
    assert not needs or "LLMKIT_DATA" in text[: first.start()], needs


def test_tasks_with_data_sets_are_recognised():
    assert _files_with_data_sets("llmkit eval docs-qa --task nq-dev") == ["nq-dev"]
    assert _files_with_data_sets("llmkit eval docs-qa --task docs") == []


@pytest.mark.slow
def test_the_first_block_of_the_retriever_page_runs(tmp_path, weights_home):
    """Questions from documents, a training on them, and a knowledge base that uses the trained encoder."""
    pytest.importorskip("torch", reason="needs the extra train")
    (tmp_path / "docs").mkdir()
    for name in ("serve", "knowledge", "retrieval", "agents", "cli"):
        shutil.copy(REPOSITORY / "docs" / f"{name}.md", tmp_path / "docs")
    page = (REPOSITORY / "docs" / "retriever.md").read_text(encoding="utf-8")
    block = next(code for language, code in BLOCK.findall(page) if language == "")
    for line in block.splitlines():
        short = ["--set", "epochs=1"] if "train retriever" in line else []
        done = subprocess.run(
            [sys.executable, "-m", "llmkit", *_arguments(line), *short],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (tmp_path / "my-retriever" / "retriever.json").is_file()
    assert (tmp_path / "kb" / "catalog.sqlite").is_file()
