"""The command `llmkit trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llmkit.cli.common.options import json_option, sessions_option
from llmkit.cli.common.render import excerpt, print_json
from llmkit.cli.common.trace_tree import trace_lines


@click.command("trace")
@click.argument("run", metavar="RUN|NAME")
@click.argument("which", required=False, metavar="[ID|TURN]")
@sessions_option
@json_option
def command(run: str, which: str | None, sessions: str, as_json: bool) -> None:
    """Show what every step did, as a tree: for a sample of a run, or for a turn of a conversation.

    RUN is the folder of a run and ID one of its samples; NAME is a conversation and TURN the number of a turn.
    """
    found = _read_run(Path(run), which) if (Path(run) / "run.json").is_file() else _read_session(run, which, sessions)
    if as_json:
        print_json(found)
        return
    click.echo(found["question"])
    for record in found["records"]:
        click.echo("\n".join(trace_lines(record)))
    if found["answer"]:
        click.echo(f"answer: {excerpt(found['answer'], 1000)}")


def _read_run(folder: Path, which: str | None) -> dict[str, Any]:
    from llmkit.errors import DataError, unknown
    from llmkit.evaluation.runs.run_folder import RunFolder

    traces = {row["id"]: row for row in RunFolder(folder).traces() if row.get("state")}
    if not traces:
        raise DataError(f"{folder} has no trace of any sample")
    if which is None:
        which = next(iter(traces))
        click.echo(f"note: {len(traces)} samples; this is {which}. Name another as the second argument.", err=True)
    if which not in traces:
        raise DataError(unknown("sample", which, traces))
    state = traces[which]["state"]
    return {
        "question": state["question"],
        "records": state["records"],
        "answer": (state["answer"] or {}).get("text", ""),
    }


def _read_session(name: str, which: str | None, sessions: str) -> dict[str, Any]:
    from llmkit.errors import DataError, unknown
    from llmkit.pipeline.chat.session_store import SessionStore

    if not Path(sessions).is_file():
        raise DataError(f"{name} is not the folder of a run, and there are no conversations in {sessions}")
    with SessionStore(Path(sessions)) as store:
        turns = store.turns(name)
        if not turns:
            known = [one for one, _, _ in store.names()]
            raise DataError(f"not the folder of a run, and {unknown('conversation', name, known)}")
    chosen = [turn for turn in turns if which is None or str(turn.n) == which][-1:]
    if not chosen:
        raise DataError(f"{name} has turns 1 to {turns[-1].n}, not {which}")
    return {"question": chosen[0].question, "records": list(chosen[0].records), "answer": chosen[0].answer.text}
