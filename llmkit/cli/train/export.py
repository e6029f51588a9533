"""The command `llmkit train export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json


@click.command("export")
@click.argument("adapter", metavar="ADAPTER")
@click.option("--to", type=click.Choice(["safetensors", "gguf-adapter", "gguf"]), required=True, help="The form.")
@click.option("--out", metavar="PATH", help="Path to write; default: beside the adapter, named by the form.")
@click.option("--base", metavar="PATH", help="Path of the base, if it is not where it was at the training.")
@click.option(
    "--type", "kind", type=click.Choice(["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]), default="f16",
    show_default=True, help="Of the tensors that are changed, in a merged GGUF.",
)  # fmt: skip
@click.option(
    "--limit", type=click.FloatRange(0), default=0.5, show_default=True,
    help="Largest difference of a log probability that is accepted.",
)  # fmt: skip
@click.option(
    "--min-agreement", type=click.FloatRange(0, 1), default=0.75, show_default=True,
    help="Smallest share of the greedy answers' text that must be the same.",
)  # fmt: skip
@click.option("--prompts", metavar="FILE", help="JSONL of {messages}: what the two are compared on.")
@json_option
def command(
    adapter: str, to: Any, out: str | None, base: str | None, kind: Any, limit: float,
    min_agreement: float, prompts: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Write an adapter in another form, and measure whether it answers the same.

    If the answers differ by more than --limit or --min-agreement allow, nothing is written.
    """
    from llmkit.training.adapters.export import export
    from llmkit.training.adapters.parity import PROMPTS

    compared: Any = PROMPTS
    if prompts is not None:
        from llmkit.training.lora.datasets import ChatRows

        rows = ChatRows(path=prompts).conversations()
        compared = [[(turn.role, turn.content) for turn in row.turns[:-1]] for row in rows]
    suffix = {"safetensors": "-merged", "gguf-adapter": ".gguf", "gguf": f"-merged-{kind}.gguf"}[to]
    place = Path(out) if out else Path(f"{Path(adapter).expanduser()}{suffix}")
    record = export(
        adapter, to, place, base=base, kind=kind, limit=limit, min_agreement=min_agreement, prompts=compared
    )
    if as_json:
        print_json({"path": str(place), **record})
        return
    found = record["parity"]
    click.echo(
        f"{place}\nbeside the adapter on its base: {found['identical']} of {found['prompts']} greedy answers equal "
        f"({found['greedy_agreement']:.0%} of their text), log probabilities of first tokens within "
        f"{found['max_logprob_difference']:.4f}"
    )
