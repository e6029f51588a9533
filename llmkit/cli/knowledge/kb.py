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
from llmkit.cli.common.render import plural, print_json, print_notes
from llmkit.errors import ConfigError

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.knowledge.store import Diff, Erased


@click.group("kb")
def command() -> None:
    """Maintain a knowledge base.

    A generation is a number of `llmkit kb log`. A date or time (ISO, UTC) means the generation at its end.
    """


@command.command("log")
@kb_option
@json_option
def log(kb: str, as_json: bool) -> None:
    """List every generation: its time, its note, and how many documents it added and removed."""
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
    """List the documents that differ between two generations or dates A and B."""
    with _open(kb) as base:
        found = base.diff(a, b)
    _print_diff(found, as_json)


@command.command("rollback")
@click.argument("to")
@kb_option
@json_option
def rollback(to: str, kb: str, as_json: bool) -> None:
    """Commit a new generation that equals the older generation (or date) TO.

    Nothing is encoded, and the generations in between stay readable.
    """
    with _open(kb) as base:
        found = base.rollback(to)
        print_notes(base.take_notes())
    _print_diff(found, as_json)


@command.command("compact")
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Last generations to keep readable.",
)
@kb_option
@json_option
def compact(keep: int, kb: str, as_json: bool) -> None:
    """Delete what only older generations hold, and free its disk space."""
    with _open(kb) as base:
        deleted = base.compact(keep)
    _print_erased(deleted, as_json)


@command.command("forget")
@click.argument("documents", nargs=-1, required=True)
@kb_option
@click.option(
    "--runs", default="runs", show_default=True, metavar="DIR", envvar="LLMKIT_RUNS",
    help="Folder of evaluation runs; samples and cached answers that quote the documents are erased, too.",
)  # fmt: skip
@sessions_option
@click.option(
    "--memory", default=[".llmkit/agent.sqlite"], show_default=True, multiple=True, metavar="FILE",
    help="Memory file of agents; conversations that read the documents are erased, too; repeatable.",
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
    """Erase documents from every generation, evaluation run and conversation.

    Afterwards no search of the bytes on disk finds their text. DOCUMENTS are the names that `llmkit search`
    shows.
    """
    for option, paths in (("runs", (runs,)), ("sessions", (sessions,)), ("memory", memory)):
        named = ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
        missing = [path for path in paths if not Path(path).exists()]
        if named and missing:  # what quotes a document cannot be found once the document is deleted
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
        deleted = base.forget(documents, before=erase)
    erased, turns = done["runs"], done["turns"]
    if as_json:
        print_json({**asdict(deleted), "runs": asdict(erased), "turns": turns, "memories": done["memories"]})
        return
    _print_erased(deleted, as_json)
    click.echo(
        f"{runs}: erased {erased.samples} samples, {erased.passages} passages and {erased.answers} cached answers that "
        "quote the documents; the same llmkit eval runs those samples again"
    )
    click.echo(f"{sessions}: erased {turns} turns of conversations")
    files = [path if Path(path).is_file() else f"{path} (not there)" for path in memory]
    click.echo(f"{', '.join(files)}: erased what agents remember of {done['memories']} conversations")
    for name in deleted.namesakes:
        click.echo(f"  also erased, an older name of the same text: {name}")
    for name in deleted.copies:
        click.echo(f"  NOT erased, it holds the same text: {name}")
    for file in erased.files:
        click.echo(f"  deleted, can be written again: {file}")
    for file in erased.untouched:
        click.echo(f"  NOT changed, check this file yourself: {file}")


@command.command("verify")
@kb_option
@json_option
def verify(kb: str, as_json: bool) -> None:
    """Read everything and check it: checksums, BM25 index against rows, text against offsets.

    Exit code 1: something is damaged.
    """
    with _open(kb) as base:
        found = base.verify()
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            advice = f"llmkit kb repair --kb {kb}" if one.repairable else "restore it from a copy"
            click.echo(f"{one.part}: {one.what} ({advice})")
        if not found:
            click.echo(f"{kb} is undamaged")
    sys.exit(1 if found else 0)


@command.command("index")
@click.option(
    "--recall", type=click.FloatRange(0, 1, min_open=True),
    help="Recall@10 that the index must reach with 95 % confidence, from now on; 1 searches exactly.",
)  # fmt: skip
@click.option("--codes", type=click.Choice(["any", "pq", "rabitq", "pq2", "rabitq2", "rabitq4", "sq8", "float16"]),
    help="How vectors are compressed, from now on; any: the smallest code that reaches the recall.",
)  # fmt: skip
@click.option("--structure", type=click.Choice(["any", "ivf", "hnsw", "flat"]),
    help="Inverted lists, a graph, or a full scan, from now on; any: chosen by size.",
)  # fmt: skip
@kb_option
@json_option
def index(recall: float | None, codes: str | None, structure: str | None, kb: str, as_json: bool) -> None:
    """Build the vector index now, and show each index that was tried with the lower bound of its recall."""
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
                "chosen" if one == chosen else f"lower bound is below {one.target}",
            )
        )  # fmt: skip
    click.echo(align_columns(rows))
    click.echo(describe(chosen))


@command.command("repair")
@kb_option
@json_option
def repair(kb: str, as_json: bool) -> None:
    """Rebuild damaged vectors and a damaged BM25 index from the catalogue."""
    with _open(kb) as base:
        found = base.repair()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        click.echo(f"repaired {one.part}: {one.what}")
    if not found:
        click.echo(f"{kb} is undamaged: nothing was changed")


@command.command("import-langchain")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--into", "--kb", "into", metavar="DIR", default=".llmkit/kb", envvar="LLMKIT_KB", show_default=True,
    help="Folder of the knowledge base; created if it does not exist.",
)  # fmt: skip
@click.option(
    "--encoder", metavar="SPEC",
    help="New knowledge base only. Encoder that the FAISS index was made with, to keep its vectors. [default: local]",
)  # fmt: skip
@click.option("--encode", is_flag=True, help="Encode every text again; the FAISS index may have any encoder and kind.")
@click.option("--name", default="index", show_default=True, help="Name of the FAISS index: NAME.faiss and NAME.pkl.")
@json_option
def import_langchain(folder: Path, into: str, encoder: str | None, encode: bool, name: str, as_json: bool) -> None:
    """Import a FAISS folder that LangChain saved. Its pickle is read as data: no code in it can run."""
    from llmkit.errors import LlmkitError
    from llmkit.knowledge.langchain_import.importer import import_faiss

    target = Path(into).expanduser()
    existed = target.exists()
    try:
        with open_or_create(target, (), encoder=encoder) as kb:
            done = import_faiss(folder, kb, encode=encode, name=name)
            done.notes += kb.take_notes()
    except LlmkitError:
        if not existed:  # an empty knowledge base would keep the wrong encoder
            shutil.rmtree(target, ignore_errors=True)
        raise
    if as_json:
        print_json(asdict(done))
        return
    print_notes(done.notes)
    agreement = f" (cosine with the encoder at least {done.agreement:.4f})" if done.agreement is not None else ""
    unchanged = f" ({done.unchanged} unchanged)" if done.unchanged else ""
    click.echo(f"{done.documents} documents{unchanged}: {done.kept} vectors kept{agreement}, {done.encoded} encoded")


def _open(kb: str) -> KnowledgeBase:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

    return KnowledgeBase.open(Path(kb))


def _print_diff(found: Diff, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    for sign, names in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        for name in names:
            click.echo(f"{sign} {name}")
    click.echo(f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed", err=True)


def _print_erased(deleted: Erased, as_json: bool) -> None:
    if as_json:
        print_json(asdict(deleted))
    else:
        click.echo(
            f"deleted {plural(deleted.documents, 'document version')} and {plural(deleted.chunks, 'chunk')}, "
            f"freed {max(deleted.bytes, 0):,} bytes"
        )
