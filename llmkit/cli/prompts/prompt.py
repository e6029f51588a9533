"""The command `llmkit prompt`."""

from __future__ import annotations

import difflib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import excerpt, plural, print_json
from llmkit.errors import ConfigError, PromptError, unknown

if TYPE_CHECKING:
    from llmkit.lint import Finding


@click.group("prompt")
def command() -> None:
    """Manage versioned prompts.

    A prompt is named answer@v1, answer for its highest version, or by its file.
    """


@command.command("list")
@json_option
def list_prompts(as_json: bool) -> None:
    """List every prompt and version that is found, with its length and purpose."""
    from llmkit import prompts
    from llmkit.lint.prompt import estimate_tokens

    found, rows = [], [("", "tokens", "output", "")]
    for ref in prompts.references():
        try:
            one = prompts.load(ref)
        except PromptError as error:
            click.echo(f"{ref} cannot be used: {error}", err=True)
            continue
        found.append(one)
        rows.append((one.ref, str(estimate_tokens(one)), one.output or "-", one.description))
    if as_json:
        keys = ("description", "variables", "output", "parent", "digest")
        print_json([{"ref": one.ref, **{key: getattr(one, key) for key in keys}} for one in found])
        return
    click.echo(align_columns(rows))


@command.command("show")
@click.argument("ref", metavar="NAME[@VERSION]|FILE")
@json_option
def show(ref: str, as_json: bool) -> None:
    """Show a prompt: its file, its variables and its text."""
    from llmkit import prompts

    prompt, path = prompts.load(ref), prompts.path_of(ref)
    if as_json:
        print_json({"ref": prompt.ref, "path": str(path), **prompt.model_dump(mode="json")})
        return
    click.echo(f"{prompt.ref}  {path}")
    click.echo(prompt.description)
    click.echo(f"variables: {', '.join(prompt.variables) or 'none'}")
    for name, value in (("output", prompt.output), ("made from", prompt.made_from), ("digest", prompt.digest[:16])):
        if value:
            click.echo(f"{name}: {value}")
    if prompt.lineage:
        click.echo(f"lineage: {', '.join(f'{key} {value}' for key, value in prompt.lineage.items())}")
    for role, text in prompt.messages:
        click.echo(f"\n# {role}\n{text}")
    for n, example in enumerate(prompt.examples, 1):
        click.echo(f"\nexample {n}:")
        for name, value in example.items():
            click.echo(f"  {name}: {excerpt(value)}")


@command.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
def diff(a: str, b: str | None) -> None:
    """Show the differences between versions A and B.

    Without B, A is compared with the version it was made from, else with the one before it.
    """
    from llmkit import prompts

    if b is None:
        a, b = _predecessor(a), a
    old, new = prompts.path_of(a), prompts.path_of(b)
    texts = [path.read_text(encoding="utf-8").splitlines() for path in (old, new)]
    names = [prompts.load(ref).ref if not ref.endswith(".md") else ref for ref in (a, b)]
    lines = list(difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm=""))
    for line in lines:
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.secho(line, fg=colour)
    if not lines:
        click.echo(f"{names[0]} and {names[1]} are the same", err=True)


@command.command("render")
@click.argument("ref", metavar="NAME[@VERSION]|FILE")
@click.argument("values", nargs=-1, metavar="[NAME=VALUE...]")
@json_option
def render(ref: str, values: tuple[str, ...], as_json: bool) -> None:
    """Print the messages that a model would be sent. A value @FILE is read from the file."""
    from llmkit import prompts

    messages = prompts.load(ref).render(dict(map(_value, values)))
    if as_json:
        print_json([{"role": message.role, "content": message.content} for message in messages])
        return
    click.echo("\n\n".join(f"# {message.role}\n{message.content}" for message in messages))


@command.command("lint")
@click.argument("names", nargs=-1, metavar="[PROMPTS|FILES|FOLDERS|PIPELINES...]")
@click.option(
    "--budget", type=click.IntRange(1), metavar="TOKENS", help="Largest length of a prompt without its variables."
)
@json_option
def lint(names: tuple[str, ...], budget: int | None, as_json: bool) -> None:
    """Check prompts, and the pipelines that parse their replies: variables, secrets, length, contradicting formats.

    Without arguments, every prompt and pipeline that is found is checked. Exit code 1: there is a finding.
    """
    from llmkit.lint.prompt import BUDGET

    found: list[Finding] = []
    files, pipelines = _select(names)
    for path in files:
        from llmkit.lint import lint_file

        found += lint_file(path, budget or BUDGET)
    for name in pipelines:
        from llmkit.lint import lint_uses
        from llmkit.pipeline import load_pipeline

        found += lint_uses(load_pipeline(name))
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            click.echo(one)
        counts = f"{plural(len(files), 'prompt')} and {plural(len(pipelines), 'pipeline')}"
        click.echo(f"{counts}, {plural(len(found), 'finding')}", err=True)
    if found:
        sys.exit(1)


@command.command("new-version")
@click.argument("ref", metavar="NAME[@VERSION]")
@click.option("--into", default="prompts", show_default=True, metavar="FOLDER", help="Folder of prompts to write to.")
def new_version(ref: str, into: str) -> None:
    """Copy a prompt to its next version, to edit it; run `llmkit prompt lock` when it is done."""
    from llmkit import prompt_versions, prompts

    source = prompts.path_of(ref)
    click.echo(prompt_versions.new_version(ref, Path(into)))
    if prompts.locked_digest(source) not in (None, prompts.read(source, source.parent.name, source.stem).digest):
        click.echo(
            f"note: {source} was changed after it was locked, and the new version holds the change: restore the "
            "text that was locked",
            err=True,
        )


@command.command("lock")
@click.argument("folder", default="prompts", metavar="[FOLDER]")
def lock(folder: str) -> None:
    """Write the digest of every version to LOCK.json. From then on, a changed version is refused."""
    from llmkit import prompt_versions

    if not Path(folder).is_dir():
        raise PromptError(f"there is no folder {folder}")
    before = prompt_versions.read_lock(Path(folder))
    for ref, digest in prompt_versions.lock(Path(folder)).items():
        new = "  new" if ref not in before else ""
        click.echo(f"{ref}  {digest[:16]}{new}" if before.get(ref, digest) == digest else _changed(ref, digest, before))


def _changed(ref: str, digest: str, before: dict[str, str]) -> str:
    return f"{ref}  {digest[:16]}  CHANGED, was {before[ref][:16]}: results with the old text are not comparable"


def _predecessor(ref: str) -> str:
    """The version that a prompt was made from, else the version before it."""
    from llmkit import prompts

    prompt = prompts.load(ref)
    if prompt.made_from is not None:
        return prompt.made_from
    versions = [one for one in prompts.references() if one.startswith(f"{prompt.name}@")]
    at = versions.index(prompt.ref) if prompt.ref in versions else 0
    if at == 0:
        raise PromptError(f"{prompt.ref} is the first version: name the prompt to compare it with")
    return versions[at - 1]


def _value(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{given}: expected NAME=VALUE, as in question='Who?' or passages=@passages.txt")
    if not value.startswith("@"):
        return name, value
    try:
        return name, Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{value[1:]} cannot be read: {error}") from error


def _select(names: tuple[str, ...]) -> tuple[list[Path], list[str]]:
    """Prompt files and pipelines that `names` name; all of them if there are no names."""
    from llmkit import assets, prompts

    if not names:
        return [prompts.path_of(ref) for ref in prompts.references()], _all_pipelines()
    files: list[Path] = []
    pipelines: list[str] = []
    for name in names:
        if Path(name).is_dir():
            files += sorted(Path(name).rglob("v*.md"))
            if not files:
                raise PromptError(f"{name} holds no prompt: the files of prompts are named NAME/v1.md")
        elif name.endswith((".yaml", ".yml")):
            pipelines.append(name)
        else:
            try:
                files.append(prompts.path_of(name))
            except PromptError as error:
                there = assets.known("pipelines")
                if name not in there:
                    raise PromptError(f"{error}\nnor is it a pipeline: {unknown('pipeline', name, there)}") from error
                pipelines.append(name)
    return files, pipelines


def _all_pipelines() -> list[str]:
    """Names of all pipelines that are found, without the training recipes that are kept beside them."""
    from llmkit import assets, config

    found = []
    for name in assets.known("pipelines"):
        try:
            if "steps" in config.read(assets.find("pipelines", name)).values:
                found.append(name)
        except ConfigError as error:
            click.echo(f"not checked: {error}", err=True)
    return found
