"""The command `llmkit keys`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.cli.answering.serve import data_option
from llmkit.cli.common.figures import aligned
from llmkit.cli.common.render import json_option, print_json


@click.group("keys")
def command() -> None:
    """API keys of `llmkit serve`."""


@command.command("add")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["ask", "ingest", "admin"]), default=("ask",),
    show_default="ask", help="What it may do; repeatable. admin: everything, with the owner's view of the documents.",
)  # fmt: skip
@click.option("--access", default="", metavar="LABELS", help="Access labels it reads with, as in hr,board.")
@click.option("--rate", type=click.IntRange(1), help="Requests a minute. [default: no limit]")
@click.option("--max-upload-mb", type=click.FloatRange(0.001), help="Largest upload. [default: the server's]")
@data_option
@json_option
def add(
    name: str,
    scopes: tuple[str, ...],
    access: str,
    rate: int | None,
    max_upload_mb: float | None,
    data: str,
    as_json: bool,
) -> None:
    """Make a key and show it, this once."""
    from llmkit.knowledge.access_labels import labels
    from llmkit.serve.auth.api_keys import KeyStore

    most = None if max_upload_mb is None else int(max_upload_mb * 1e6)
    ring = KeyStore(Path(data).expanduser())
    key, text = ring.add(name, scopes, labels=labels(access or None), rate=rate, max_upload=most)
    if as_json:
        print_json({"id": key.id, "name": key.name, "scopes": list(key.scopes), "key": text})
        return
    click.echo(text)
    click.echo(f"{name} may {', '.join(key.scopes)}; the key is kept as a hash and cannot be shown again", err=True)
    for older in ring.all_keys():
        if older.name == name and older.id != key.id and not older.revoked:
            click.echo(f"{name} had a key before, which goes on: llmkit keys revoke {older.id}", err=True)


@command.command("list")
@data_option
@json_option
def every(data: str, as_json: bool) -> None:
    """Every key, revoked ones too; never its secret."""
    from llmkit.serve.auth.api_keys import KeyStore

    found = KeyStore(Path(data).expanduser()).all_keys()
    if as_json:
        print_json(
            [
                {
                    "id": key.id,
                    "name": key.name,
                    "scopes": list(key.scopes),
                    "access": list(key.labels),
                    "rate": key.rate,
                    "max_upload": key.max_upload,
                    "made": key.made,
                    "revoked": key.revoked,
                }
                for key in found
            ]
        )
        return
    rows = [("id", "name", "scopes", "access", "a minute", "made", "")]
    for key in found:
        state = f"revoked {key.revoked}" if key.revoked else ""
        limit = str(key.rate or "any")
        rows.append((key.id, key.name, ",".join(key.scopes), ",".join(key.labels), limit, key.made, state))
    click.echo(aligned(rows))


@command.command("revoke")
@click.argument("which", metavar="ID|NAME")
@data_option
def revoke(which: str, data: str) -> None:
    """Refuse a key from now on; a server that runs does so at the next request."""
    from llmkit.serve.auth.api_keys import KeyStore

    gone = KeyStore(Path(data).expanduser()).revoke(which)
    click.echo(f"revoked: {', '.join(f'{key.name} ({key.id})' for key in gone)}" if gone else "it was revoked before")
