"""The command `llmkit train lora`."""

from __future__ import annotations

from typing import Any

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import duration, print_json, stderr_is_terminal


@click.command("lora")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the recipe; repeatable."
)
@click.option("--check", "only_check", is_flag=True, help="Check base and data, and stop before the training.")
@click.option("--fresh", is_flag=True, help="Discard an unfinished training in the same `out`.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], only_check: bool, fresh: bool, as_json: bool) -> None:
    """Train a LoRA adapter by a recipe: a file, or `lora`.

    If the training is killed, the same command continues it.
    """
    from llmkit.cli.common.progress import ProgressBar
    from llmkit.cli.train.step_line import step_line
    from llmkit.training.lora.recipe import load_recipe
    from llmkit.training.lora.train import prepare, train

    prepared = prepare(load_recipe(recipe, overrides))
    preflight = prepared.preflight
    if not as_json:
        _show_masks(preflight.masks)
        click.echo(_summary(preflight, prepared.recipe.too_long == "cut"), err=True)
    if only_check:
        if as_json:
            print_json({key: value for key, value in vars(preflight).items() if key != "masks"})
        return
    with ProgressBar("steps", quiet=as_json) as bar:
        done = train(
            prepared,
            fresh=fresh,
            note=lambda text: click.echo(text, err=True),
            on_step=lambda report: bar.show(report.step, report.steps, step_line(report, "loss")),
        )
    if as_json:
        print_json({"adapter": str(done.folder), **done.record})
        return
    figures = done.record["figures"]
    dev = "" if figures["dev_loss"] is None else f", dev {figures['dev_loss']:.4f} at step {figures['best_step']}"
    memory = "" if figures["peak_mb"] is None else f", {figures['peak_mb']} MB"
    click.echo(
        f"loss {figures['loss']:.4f}{dev}; {figures['tokens']} tokens in {duration(figures['seconds'])}, "
        f"{figures['tokens_per_second']} tokens/s{memory}\n{done.folder}: the curve is in loss.svg; "
        f"use it with --set 'model={{model: {_served_name(done.record['base'])}, adapter: {done.folder}}}'"
    )


def _served_name(base: dict[str, Any]) -> str:
    """The base as the spec of a chat model names it; a base from a GGUF file has two digests."""
    plain = str(base["name"]).removeprefix("local:").removeprefix("transformers:")
    return f"{'local' if len(base['digests']) > 1 else 'transformers'}:{plain}"


def _show_masks(masks: list[list[tuple[str, bool]]]) -> None:
    """Three examples: learned text is green; where there are no colours, it stands between ⟦ and ⟧."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    for n, mask in enumerate(masks, 1):
        line = Text(f"example {n}: ", style="bold")
        for text, learned in mask:
            marked = text if stderr_is_terminal() or not learned else f"⟦{text}⟧"
            line.append(marked, style="black on green" if learned else "dim")
        console.print(line, soft_wrap=True)


def _summary(preflight: Any, cut: bool) -> str:
    """The results of :class:`llmkit.training.lora.preflight.Preflight`, a line each."""
    held_out = "" if preflight.dev else ": there is no dev loss, and the last step is kept"
    lines = [
        f"{preflight.train} examples to learn, {preflight.dev} held out{held_out}",
        f"{preflight.learned} of {preflight.tokens} tokens are learned; the longest example has {preflight.longest}",
    ]
    if preflight.too_long:
        what = "cut at their end" if cut else "left out"
        lines.append(f"{preflight.too_long} examples were longer than max_tokens and are {what}")
    if preflight.template_checked:
        lines.append(f"{preflight.template_checked} prompts are served by llama.cpp with exactly the trained tokens")
    return "\n".join([*lines, *preflight.notes])
