"""The command `llmkit serve`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.cli.common.options import kb_option, server_data_option, sessions_option


@click.command("serve")
@kb_option
@click.option(
    "--pipeline", "pipelines", multiple=True, metavar="NAME|FILE",
    help="Pipeline to serve; repeatable, the first is the default. [default: chat, docs-qa, chat-local]",
)  # fmt: skip
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Setting for every pipeline, such as steps.retrieve.k=20; repeatable.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; any beyond loopback requires keys."
)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes any free port.",
)
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="Another host name of this server; repeatable."
)
@click.option("--keys/--no-keys", default=None, help="Require API keys (llmkit keys). [default: not on loopback]")
@server_data_option
@sessions_option
@click.option("--slots", default=8, show_default=True, type=click.IntRange(1, 1000), help="Answers at the same time.")
@click.option(
    "--waiting",
    default=64,
    show_default=True,
    type=click.IntRange(0),
    help="Questions that wait for a slot; further ones get status 429.",
)
@click.option(
    "--max-upload-mb",
    default=100.0,
    show_default=True,
    type=click.FloatRange(0.001),
    help="Size of the largest upload.",
)
@click.option(
    "--quota-mb", default=10_000.0, show_default=True, type=click.FloatRange(0.001), help="Stored uploads of one key."
)
@click.option(
    "--grace",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds that running answers have left at a stop.",
)
def command(
    kb: str,
    pipelines: tuple[str, ...],
    overrides: tuple[str, ...],
    host: str,
    port: int,
    hosts: tuple[str, ...],
    keys: bool | None,
    data: str,
    sessions: str,
    slots: int,
    waiting: int,
    max_upload_mb: float,
    quota_mb: float,
    grace: float,
) -> None:
    """Serve an OpenAI-compatible interface, and a web page for questions about your documents."""
    from llmkit.errors import ConfigError
    from llmkit.serve.auth.api_keys import KeyStore
    from llmkit.serve.runtime.knowledge_pool import KnowledgePool
    from llmkit.serve.server import serve
    from llmkit.serve.settings import LOOPBACK, PIPELINES, Settings
    from llmkit.serve.storage.uploads import mismatched_knowledge_base

    beyond_loopback = host not in LOOPBACK
    if beyond_loopback and keys is False:
        raise ConfigError(
            f"listening on {host} requires API keys, because anybody who reaches it could read the documents: "
            "leave out --no-keys"
        )
    require_keys = bool(keys) or beyond_loopback
    if require_keys and not any(not key.revoked for key in KeyStore(Path(data).expanduser()).all_keys()):
        raise ConfigError(f"there is no API key yet; create one: llmkit keys add NAME --scope ask --data {data}")
    settings = Settings(
        host=host,
        port=port,
        allowed_hosts=hosts,
        pipelines=pipelines or PIPELINES,
        overrides=overrides,
        knowledge=Path(kb),
        data=Path(data),
        sessions=Path(sessions),
        keys=require_keys,
        slots=slots,
        max_waiting=waiting,
        max_upload=int(max_upload_mb * 1e6),
        max_stored=int(quota_mb * 1e6),
        grace=grace,
    )

    def on_start(address: str) -> None:
        if not KnowledgePool(settings.knowledge).exists:
            click.echo(
                f"there is no knowledge base at {kb} yet: the first upload creates it; --kb names another one", err=True
            )
        other = mismatched_knowledge_base(settings)
        if other is not None:
            click.echo(
                f"the uploads in {data} belong to {other}: the next upload reads all of them into {kb} as well; "
                "name another --data to keep them apart",
                err=True,
            )
        click.echo(f"serving at {address}; Ctrl-C stops the server", err=True)

    serve(settings, on_start)
