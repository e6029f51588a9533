"""The command `llmkit keys`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import json_option, server_data_option
from llmkit.cli.common.render import print_json


@click.group("keys")
def command() -> None:
    """Manage the API keys of `llmkit serve`."""


@command.command("add")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["ask", "ingest", "admin"]), default=("ask",),
    show_default="ask", help="What the key may do; repeatable. admin: everything, and read every document.",
)  # fmt: skip
@click.option("--access", default="", metavar="LABELS", help="Access labels that the key holds, such as hr,board.")
@click.option("--rate", type=click.IntRange(1), help="Requests per minute. [default: no limit]")
@click.option(
    "--max-upload-mb", type=click.FloatRange(0.001), help="Size of the largest upload. [default: the server's]"
)
@server_data_option
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
    """Create a key and show it; it cannot be shown again."""
    if not name.strip():
        raise click.UsageError("NAME is empty")
    from llmkit.knowledge.access_labels import labels
    from llmkit.serve.auth.api_keys import KeyStore

    max_upload = None if max_upload_mb is None else int(max_upload_mb * 1e6)
    store = KeyStore(Path(data).expanduser())
    key, text = store.add(name, scopes, labels=labels(access or None), rate=rate, max_upload=max_upload)
    if as_json:
        print_json({"id": key.id, "name": key.name, "scopes": list(key.scopes), "key": text})
        return
    click.echo(text)
    click.echo(
        f"{name} may {', '.join(key.scopes)}; only a hash of the key is stored, so it cannot be shown again", err=True
    )
    for older in store.all_keys():
        if older.name == name and older.id != key.id and not older.revoked:
            click.echo(
                f"{name} has an older key, which stays valid; to revoke it: llmkit keys revoke {older.id}", err=True
            )


@command.command("list")
@server_data_option
@json_option
def list_keys(data: str, as_json: bool) -> None:
    """List every key, revoked ones included, without its secret."""
    from llmkit.serve.auth.api_keys import KeyStore

    keys = KeyStore(Path(data).expanduser()).all_keys()
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
                for key in keys
            ]
        )
        return
    rows = [("id", "name", "scopes", "access", "per minute", "created", "")]
    for key in keys:
        state = f"revoked {key.revoked}" if key.revoked else ""
        limit = str(key.rate or "any")
        rows.append((key.id, key.name, ",".join(key.scopes), ",".join(key.labels), limit, key.made, state))
    click.echo(align_columns(rows))


@command.command("revoke")
@click.argument("which", metavar="ID|NAME")
@server_data_option
def revoke(which: str, data: str) -> None:
    """Revoke a key; a running server refuses it at the next request."""
    from llmkit.serve.auth.api_keys import KeyStore

    revoked = KeyStore(Path(data).expanduser()).revoke(which)
    click.echo(
        f"revoked: {', '.join(f'{key.name} ({key.id})' for key in revoked)}"
        if revoked
        else "the key was revoked before"
    )
