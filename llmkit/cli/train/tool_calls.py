"""The command `llmkit train tool-calls`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click


@click.command("tool-calls")
@click.option("--out", required=True, metavar="FILE", help="JSONL to write, for the data type 'chat'.")
@click.option(
    "--rows", "count", type=click.IntRange(1), default=2000, show_default=True, help="How many conversations."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which.")
@click.option(
    "--held-back", is_flag=True, help="Write rows of the task tool-calls instead, which share nothing with the others."
)
def command(out: str, count: int, seed: int, held_back: bool) -> None:
    """Rows that teach a model without native tool calls to search and to calculate, from templates."""
    from llmkit.training.synthetic import tool_calls

    made: Iterable[dict[str, Any]] = tool_calls.held_back(count, seed) if held_back else tool_calls.rows(count, seed)
    target = Path(out).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.tmp")
    kinds: Counter[str] = Counter()
    with fresh.open("w", encoding="utf-8") as file:
        for row in made:
            kinds[row["kind"]] += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    fresh.replace(target)
    click.echo(f"{target}: {kinds.total()} rows: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")
