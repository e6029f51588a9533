"""The command `llmkit kb`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.open_or_create import open_or_create
from llmkit.cli.common.options import json_option, kb_option, sessions_option
from llmkit.cli.common.render import print_json, print_notes
from llmkit.errors import ConfigError

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.knowledge.store import Diff, Erased


@click.group("kb")
def command() -> None:
    """Care for a knowledge base."""


@command.command("log")
@kb_option
@json_option
def log(kb: str, as_json: bool) -> None:
    """Every generation: when, what for, documents that came and went."""
    with _open(kb) as base:
        found = base.log()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [("generation", "at", "added", "removed", "")]
    for one in found:
        note = one.note if one.readable else f"{one.note} (compacted: cannot be opened)"
        rows.append((str(one.id), one.at, str(one.added), str(one.removed), note))
    click.echo(align_columns(rows))


@command.command("diff")
@click.argument("a")
@click.argument("b")
@kb_option
@json_option
def diff(a: str, b: str, kb: str, as_json: bool) -> None:
    """Documents that differ between two generations or dates."""
    with _open(kb) as base:
        found = base.diff(a, b)
    _tell(found, as_json)


@command.command("rollback")
@click.argument("to")
@kb_option
@json_option
def rollback(to: str, kb: str, as_json: bool) -> None:
    """Make a new generation that holds what an older one (or a date) held. Nothing is encoded, nothing is lost."""
    with _open(kb) as base:
        found = base.rollback(to)
        print_notes(base.take_notes())
    _tell(found, as_json)


@command.command("compact")
@click.option("--keep", type=click.IntRange(1), default=1, show_default=True, help="Generations that stay readable.")
@kb_option
@json_option
def compact(keep: int, kb: str, as_json: bool) -> None:
    """Drop what only older generations show, and give the space back."""
    with _open(kb) as base:
        gone = base.compact(keep)
    _gone(gone, as_json)


@command.command("forget")
@click.argument("documents", nargs=-1, required=True)
@kb_option
@click.option(
    "--runs", default="runs", show_default=True, metavar="DIR", envvar="LLMKIT_RUNS",
    help="Folder of evaluations, whose samples and remembered answers that quote the documents are erased too.",
)  # fmt: skip
@sessions_option
@click.option(
    "--memory", default=[".llmkit/agent.sqlite"], show_default=True, multiple=True, metavar="FILE",
    help="Memory of agents, whose conversations that read the documents are erased too; repeatable.",
)  # fmt: skip
@json_option
@click.pass_context
def forget(
    ctx: click.Context,
    documents: tuple[str, ...],
    kb: str,
    runs: str,
    sessions: str,
    memory: tuple[str, ...],
    as_json: bool,
) -> None:
    """Take documents out of every generation, evaluation and conversation, so that no byte search finds them."""
    for option, paths in (("runs", (runs,)), ("sessions", (sessions,)), ("memory", memory)):
        named = ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
        missing = [path for path in paths if not Path(path).exists()]
        if named and missing:  # nobody knows afterwards what quotes the documents: it cannot be made good later
            raise ConfigError(f"--{option}: there is no {', '.join(missing)}; nothing was forgotten")
    from llmkit.evaluation.runs.erase import forget_in_runs
    from llmkit.pipeline.chat.session_store import SessionStore

    done: dict[str, Any] = {"turns": 0, "memories": 0}

    def erase(names: Sequence[str]) -> None:
        quotes = base.quotes(names)
        done["runs"] = forget_in_runs(Path(runs), quotes)
        if Path(sessions).is_file():
            with SessionStore(Path(sessions)) as store:
                done["turns"] = store.erase(quotes)
        for file in filter(Path.is_file, map(Path, memory)):
            from llmkit.pipeline.agent.erase import erase_memory

            done["memories"] += erase_memory(file, quotes)

    with _open(kb) as base:
        gone = base.forget(documents, before=erase)
    erased, turns = done["runs"], done["turns"]
    if as_json:
        print_json({**asdict(gone), "runs": asdict(erased), "turns": turns, "memories": done["memories"]})
        return
    _gone(gone, as_json)
    click.echo(
        f"{runs}: {erased.samples} samples, {erased.passages} passages and {erased.answers} remembered answers that "
        "were shown or quote them are gone; the same llmkit eval makes those samples again"
    )
    click.echo(f"{sessions}: {turns} turns of conversations are gone")
    told = [path if Path(path).is_file() else f"{path} (not there)" for path in memory]
    click.echo(f"{', '.join(told)}: what agents remember of {done['memories']} conversations is gone")
    for name in gone.namesakes:
        click.echo(f"  forgotten too, an older name of the same text: {name}")
    for name in gone.copies:
        click.echo(f"  NOT forgotten, it holds the same text: {name}")
    for file in erased.files:
        click.echo(f"  deleted, can be made again: {file}")
    for file in erased.untouched:
        click.echo(f"  NOT touched, look at it yourself: {file}")


@command.command("verify")
@kb_option
@json_option
def verify(kb: str, as_json: bool) -> None:
    """Read everything and compare it: checksums, words, offsets. Exit 1 where something is wrong."""
    with _open(kb) as base:
        found = base.verify()
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            advice = f"llmkit kb repair --kb {kb}" if one.repairable else "restore it from a copy"
            click.echo(f"{one.part}: {one.what} ({advice})")
        if not found:
            click.echo(f"{kb} is whole")
    sys.exit(1 if found else 0)


@command.command("index")
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True),
    help="The recall@10 to reach with 95 % confidence, from now on; 1 searches exactly.",
)  # fmt: skip
@click.option("--codes", type=click.Choice(["any", "pq", "rabitq", "pq2", "rabitq2", "rabitq4", "sq8", "float16"]),
    help="How vectors are shortened, from now on; any: the shortest that reaches the recall.",
)  # fmt: skip
@click.option("--structure", type=click.Choice(["any", "ivf", "hnsw", "flat"]),
    help="Lists, a graph, or a scan of everything, from now on; any: by size.",
)  # fmt: skip
@kb_option
@json_option
def index(recall: float | None, codes: str | None, structure: str | None, kb: str, as_json: bool) -> None:
    """Make the vector index now, and show every one that was tried with the recall it is certain to have."""
    from llmkit.knowledge.recall_bound import describe

    given = {"recall": recall, "codes": codes, "structure": structure}
    changes = {name: None if value == "any" else value for name, value in given.items() if value is not None}
    with _open(kb) as base:
        settings = base.vector_settings.replace(**changes) if changes else None
        chosen, tried = base.build_index(settings, lambda text: click.echo(text, err=True))
        print_notes(base.take_notes())
    if as_json:
        print_json({"chosen": asdict(chosen), "tried": [asdict(one) for one in tried]})
        return
    rows = [("index", "bytes a vector", "recall@10", "at least", "queries", "probes", "depth", "ms", "")]
    for one in tried:
        exact = one.structure == "flat"
        rows.append(
            (
                f"{one.structure}/{one.codes}", f"{one.bytes_per_vector:.0f}", f"{one.recall:.4f}",
                f"{one.lower:.4f}", "" if exact else str(one.queries),
                f"{one.probes}/{one.lists}" if one.lists else str(one.probes or ""), str(one.depth or ""),
                "" if exact else f"{one.milliseconds:.2f}",
                "chosen" if one == chosen else f"does not reach {one.target} for certain",
            )
        )  # fmt: skip
    click.echo(align_columns(rows))
    click.echo(describe(chosen))


@command.command("repair")
@kb_option
@json_option
def repair(kb: str, as_json: bool) -> None:
    """Make vectors and words anew from the catalogue where they are damaged."""
    with _open(kb) as base:
        found = base.repair()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        click.echo(f"mended {one.part}: {one.what}")
    if not found:
        click.echo(f"{kb} is whole: nothing was changed")


@command.command("import-langchain")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--into", "--kb", "into", metavar="DIR", default=".llmkit/kb", envvar="LLMKIT_KB", show_default=True,
    help="Folder of the knowledge base; made where it is not there.",
)  # fmt: skip
@click.option(
    "--encoder", metavar="SPEC",
    help="Of a new knowledge base: the one the index was made with, to keep its vectors. [default: local]",
)  # fmt: skip
@click.option("--encode", is_flag=True, help="Encode every text again; the index may be of any encoder and kind.")
@click.option("--name", default="index", show_default=True, help="Of the index: NAME.faiss and NAME.pkl.")
@json_option
def import_langchain(folder: Path, into: str, encoder: str | None, encode: bool, name: str, as_json: bool) -> None:
    """Bring in a FAISS folder of LangChain's. Its pickle is read as data: no code in it can run."""
    from llmkit.errors import LlmkitError
    from llmkit.knowledge.langchain_import.importer import import_faiss

    target = Path(into).expanduser()
    there = target.exists()
    try:
        with open_or_create(target, (str(folder),), encoder=encoder) as kb:
            done = import_faiss(folder, kb, encode=encode, name=name)
            done.notes += kb.take_notes()
    except LlmkitError:
        if not there:  # an empty one would keep an encoder that was the wrong one
            shutil.rmtree(target, ignore_errors=True)
        raise
    if as_json:
        print_json(asdict(done))
        return
    print_notes(done.notes)
    agreed = f" (cosine to the encoder's own at least {done.agreement:.4f})" if done.agreement is not None else ""
    here = f" ({done.unchanged} were here already)" if done.unchanged else ""
    click.echo(f"{done.documents} documents{here}: {done.kept} vectors kept{agreed}, {done.encoded} passages encoded")


def _open(kb: str) -> KnowledgeBase:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

    return KnowledgeBase.open(Path(kb))


def _tell(found: Diff, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    for sign, names in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for name in names:
            click.echo(f"{sign} {name}")
    click.echo(f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed", err=True)


def _gone(gone: Erased, as_json: bool) -> None:
    if as_json:
        print_json(asdict(gone))
    else:
        click.echo(f"{gone.documents} versions of documents and {gone.chunks} chunks are gone, {gone.bytes} bytes free")
