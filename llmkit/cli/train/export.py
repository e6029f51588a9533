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
@click.option("--out", metavar="PATH", help="Where to; else beside the adapter, named by the form.")
@click.option("--base", metavar="PATH", help="The base, where it lies elsewhere than when it was trained.")
@click.option(
    "--type", "kind", type=click.Choice(["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"]), default="f16",
    show_default=True, help="Of the tensors that are changed, in a merged GGUF.",
)  # fmt: skip
@click.option(
    "--limit", type=click.FloatRange(0), default=0.5, show_default=True,
    help="Largest difference of a log probability that is let pass.",
)  # fmt: skip
@click.option("--prompts", metavar="FILE", help="JSONL of {messages}: what the two are compared on.")
@json_option
def command(
    adapter: str, to: Any, out: str | None, base: str | None, kind: Any, limit: float, prompts: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Write an adapter in another form, and measure that it answers the same."""
    from llmkit.training.adapters.export import export
    from llmkit.training.adapters.parity import PROMPTS

    asked: Any = PROMPTS
    if prompts is not None:
        from llmkit.training.lora.datasets import ChatRows

        rows = ChatRows(path=prompts).conversations()
        asked = [[(turn.role, turn.content) for turn in row.turns[:-1]] for row in rows]
    suffix = {"safetensors": "-merged", "gguf-adapter": ".gguf", "gguf": f"-merged-{kind}.gguf"}[to]
    place = Path(out) if out else Path(f"{Path(adapter).expanduser()}{suffix}")
    record = export(adapter, to, place, base=base, kind=kind, limit=limit, prompts=asked)
    if as_json:
        print_json({"path": str(place), **record})
        return
    found = record["parity"]
    click.echo(
        f"{place}\nbeside the adapter on its base: {found['identical']} of {found['prompts']} greedy answers equal "
        f"({found['greedy_agreement']:.0%} of their text), log probabilities of first tokens within "
        f"{found['max_logprob_difference']:.4f}"
    )
