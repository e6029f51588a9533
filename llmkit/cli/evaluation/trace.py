"""The command `llmkit trace`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from llmkit.cli.common.render import duration, excerpt, json_option, print_json, sessions_option

_SHOWN = ("prompt", "model", "retriever", "k", "condensed", "kept", "kept_because", "stopped", "partial", "confidence")
_WIDTH = 160


@click.command("trace")
@click.argument("run", metavar="RUN|NAME")
@click.argument("which", required=False, metavar="[ID|TURN]")
@sessions_option
@json_option
def command(run: str, which: str | None, sessions: str, as_json: bool) -> None:
    """What every step did, as a tree: of a sample of a run, or of a turn of a conversation."""
    found = _of_run(Path(run), which) if (Path(run) / "run.json").is_file() else _of_session(run, which, sessions)
    if as_json:
        print_json(found)
        return
    click.echo(found["question"])
    for record in found["records"]:
        click.echo("\n".join(tree(record)))
    if found["answer"]:
        click.echo(f"answer: {excerpt(found['answer'], 1000)}")


def tree(record: Mapping[str, Any]) -> Iterator[str]:
    """The lines of one record: what it took, what it says, and an agent's calls below the thought before them."""
    usage, detail = record["usage"], record["detail"]
    yield f"{record['step']}  {duration(record['seconds'])}{_tokens(usage) if usage['calls'] else ''}"
    for key in _SHOWN:
        if detail.get(key) is not None:
            yield f"│  {key}: {excerpt(str(detail[key]), _WIDTH)}"
    for note in detail.get("notes", ()):
        yield f"│  note: {excerpt(note, _WIDTH)}"
    trace = detail.get("trace", ())
    results = {entry["call"]: entry for entry in trace if entry["kind"] == "tool"}
    for entry in trace:
        if entry["kind"] != "model":
            continue
        closing = f" (told to answer: {entry['closing']})" if entry.get("closing") else ""
        yield f"├─ model {entry['n']}  {duration(entry['seconds'])}{_tokens(entry)}{closing}"
        if entry["text"].strip():
            yield f"│  {excerpt(entry['text'], _WIDTH)}"
        for call in entry.get("calls", ()):
            yield from _call(call, results.get(call["id"]))
        for call in entry.get("ignored", ()):
            yield f"│  └─ {_said(call)}  ignored"


def _call(call: Mapping[str, Any], result: Mapping[str, Any] | None) -> Iterator[str]:
    if result is None:
        yield f"│  └─ {_said(call)}  no result"
        return
    dropped = f", {result['dropped']} characters not shown" if result["dropped"] else ""
    yield f"│  └─ {_said(call)}  {result['status']}, {duration(result['seconds'])}{dropped}"
    yield f"│     {excerpt(result['result'], _WIDTH)}"
    for one in result.get("addressed", ()):
        yield f"│     addresses the assistant ({one['why']}): {excerpt(one['quote'], _WIDTH)}"


def _said(call: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}={excerpt(repr(value), 80)}" for name, value in call["arguments"].items())
    return f"{call['name']}({given})"


def _tokens(counts: Mapping[str, Any]) -> str:
    return f", {counts['input_tokens']} tokens in, {counts['output_tokens']} out"


def _of_run(folder: Path, which: str | None) -> dict[str, Any]:
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


def _of_session(name: str, which: str | None, sessions: str) -> dict[str, Any]:
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
