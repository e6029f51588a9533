"""The command `llmkit status`."""

from __future__ import annotations

from dataclasses import asdict

import click

from llmkit.cli.common.options import json_option, kb_option
from llmkit.cli.common.render import print_json, print_notes


@click.command("status")
@kb_option
@click.option("--files", "per_file", is_flag=True, help="Add one line for each file.")
@json_option
def command(kb: str, per_file: bool, as_json: bool) -> None:
    """Show documents, chunks and files, and whether each character was indexed, dropped or truncated."""
    from llmkit.knowledge.knowledge_base import KnowledgeBase

    with KnowledgeBase.open(kb) as base:
        total = base.status()
        listed = list(base.files()) if per_file else []
    if as_json:
        print_json({**asdict(total), **({"per_file": [asdict(file) for file in listed]} if per_file else {})})
        return
    click.echo(f"{total.path}: generation {total.generation}, {total.at or 'nothing committed yet'}")
    click.echo(f"encoder     {total.encoder}{', with words of ' + ', '.join(total.words) if total.words else ''}")
    click.echo(f"documents   {total.documents} in {total.chunks} chunks")
    click.echo(f"language    {total.language}")
    if total.duplicates:
        click.echo(f"duplicates  {total.duplicates} documents are near duplicates of others and not indexed")
    if total.embedded < total.chunks:
        click.echo(f"NO VECTOR   {total.chunks - total.embedded} chunks: llmkit kb repair encodes them")
    click.echo(f"vectors     {total.vectors}")
    by_status = ", ".join(f"{count} {name}" for name, count in sorted(total.files.items())) or "none"
    click.echo(f"files       {by_status}")
    for fate, count in sorted(total.characters.items(), key=lambda item: -item[1]):
        click.echo(f"characters  {count:>12,} {fate}")
    if "truncated" not in " ".join(total.characters):
        click.echo(f"characters  {0:>12,} truncated")
    print_notes(total.notes)
    click.echo("on disk     " + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in total.bytes.items()))
    if per_file:
        click.echo(f"\n{'status':<12}{'kind':<10}{'chunks':>7}{'embedded':>9}{'dropped':>9}{'truncated':>10}  file")
    for file in listed:
        dropped = sum(file.dropped.values())
        click.echo(
            f"{file.status:<12}{file.kind:<10}{file.chunks:>7}{file.embedded:>9}{dropped:>9}{file.truncated:>10}"
            f"  {file.name}"
        )
        for said in filter(None, (file.reason, *file.notes)):
            click.echo(f"{'':<22}{said}")
