"""The command `llmkit replay`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json


@click.command("replay")
@click.argument("run", metavar="RUN")
@click.argument("ids", nargs=-1, metavar="[IDS...]")
@json_option
def command(run: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Run recorded samples again from their traces, without a chat model, and list those with another result.

    Exit code 1: a result differs.
    """
    from llmkit.errors import DataError
    from llmkit.evaluation.runs.reopen import reopen
    from llmkit.evaluation.runs.replay import replay

    found = list(replay(reopen(Path(run)), ids))
    missing = set(ids) - {one.id for one in found}
    if missing or not found:
        raise DataError(f"{run} has no trace of {', '.join(sorted(missing)) or 'any sample that succeeded'}")
    if as_json:
        print_json([{"id": one.id, "repeat": one.repeat, "same": one.same, "why": one.why} for one in found])
    else:
        for one in found:
            if not one.same:
                click.echo(f"{one.id}: {one.why}")
            elif ids and one.state is not None and one.state.answer is not None:
                click.echo(f"{one.id}: {one.state.answer.text}")
        click.echo(f"{sum(one.same for one in found)} of {len(found)} samples replayed byte for byte")
    sys.exit(0 if all(one.same for one in found) else 1)
