"""The command `llmkit train lora`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import duration, print_json, stderr_is_terminal

if TYPE_CHECKING:
    from llmkit.training.lora.loop import Progress
    from llmkit.training.lora.preflight import Preflight


@click.command("lora")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the recipe; repeatable."
)
@click.option("--check", "only_check", is_flag=True, help="Only look at base and data; train nothing.")
@click.option("--fresh", is_flag=True, help="Forget a training of this recipe that was not finished.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], only_check: bool, fresh: bool, as_json: bool) -> None:
    """Train a LoRA adapter by a recipe: a file, or `lora`. Run again, a killed training goes on."""
    from llmkit.cli.common.progress import ProgressBar
    from llmkit.training.lora.recipe import load_recipe
    from llmkit.training.lora.train import prepare, train

    prepared = prepare(load_recipe(recipe, overrides))
    found = prepared.preflight
    if not as_json:
        _show_masks(found)
        click.echo(_told(found, prepared.recipe.too_long == "cut"), err=True)
    if only_check:
        if as_json:
            print_json({key: value for key, value in vars(found).items() if key != "masks"})
        return
    with ProgressBar("steps", quiet=as_json) as bar:
        done = train(
            prepared,
            fresh=fresh,
            note=lambda text: click.echo(text, err=True),
            on_progress=lambda progress: bar.show(progress.step, progress.steps, _line(progress)),
        )
    if as_json:
        print_json({"adapter": str(done.folder), **done.record})
        return
    figures = done.record["figures"]
    dev = "" if figures["dev_loss"] is None else f", dev {figures['dev_loss']:.4f} at step {figures['best_step']}"
    served = _served(done.record["base"])
    memory = "" if figures["peak_mb"] is None else f", {figures['peak_mb']} MB"
    click.echo(
        f"loss {figures['loss']:.4f}{dev}; {figures['tokens']} tokens in {duration(figures['seconds'])}, "
        f"{figures['tokens_per_second']} tokens/s{memory}\n{done.folder}: the curve is in loss.svg; "
        f"use it with --set 'model={{model: {served}, adapter: {done.folder}}}'"
    )


def _served(base: dict[str, Any]) -> str:
    """The base as a chat model's spec names it; one that came from a GGUF file has two digests."""
    plain = str(base["name"]).removeprefix("local:").removeprefix("transformers:")
    return f"{'local' if len(base['digests']) > 1 else 'transformers'}:{plain}"


def _show_masks(found: Preflight) -> None:
    """Three examples: what is read plain, what is learned green; between ⟦ ⟧ where there are no colours."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    for n, mask in enumerate(found.masks, 1):
        text = Text(f"example {n}: ", style="bold")
        for said, learned in mask:
            marked = said if stderr_is_terminal() or not learned else f"⟦{said}⟧"
            text.append(marked, style="black on green" if learned else "dim")
        console.print(text, soft_wrap=True)


def _told(found: Preflight, cut: bool) -> str:
    held = "" if found.dev else ": there is no dev loss, and the last step is kept"
    words = [f"{found.train} examples to learn, {found.dev} held out{held}"]
    words.append(f"{found.learned} of {found.tokens} tokens are learned; the longest example has {found.longest}")
    if found.too_long:
        what = "cut at their end" if cut else "left out"
        words.append(f"{found.too_long} examples were longer than max_tokens and are {what}")
    if found.template_checked:
        words.append(f"{found.template_checked} prompts are served by llama.cpp token for token as they are trained")
    return "\n".join(words)


def _line(progress: Progress) -> str:
    dev = f", dev {progress.dev_loss:.4f}" if progress.dev_loss is not None else ""
    return (
        f"loss {progress.loss:.4f}{dev}, {progress.tokens_per_second:.0f} tokens/s, "
        f"{duration(progress.seconds_left)} left"
    )
