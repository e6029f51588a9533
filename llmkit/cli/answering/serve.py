"""The command `llmkit serve`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.cli.common.render import kb_option, sessions_option

data_option = click.option(
    "--data",
    metavar="DIR",
    default=".llmkit/serve",
    show_default=True,
    envvar="LLMKIT_SERVE",
    help="Where the server keeps keys, uploads, traces and ratings.",
)


@click.command("serve")
@kb_option
@click.option(
    "--pipeline", "pipelines", multiple=True, metavar="NAME|FILE",
    help="What is served; repeatable, the first is the default. [default: chat, docs-qa, chat-local]",
)  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="As in steps.retrieve.k=20; repeatable.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others than loopback need keys."
)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="Another name the server is called by; repeatable."
)
@click.option("--keys/--no-keys", default=None, help="Ask for API keys (llmkit keys). [default: not on loopback]")
@data_option
@sessions_option
@click.option("--slots", default=8, show_default=True, type=click.IntRange(1, 1000), help="Answers made at a time.")
@click.option(
    "--waiting", default=64, show_default=True, type=click.IntRange(0), help="Questions that wait; more are refused."
)
@click.option("--max-upload-mb", default=100.0, show_default=True, type=click.FloatRange(0.001), help="Largest upload.")
@click.option(
    "--quota-mb", default=10_000.0, show_default=True, type=click.FloatRange(0.001), help="Uploads kept of a key."
)
@click.option(
    "--grace", default=20.0, show_default=True, type=click.FloatRange(0), help="Seconds running answers get at a stop."
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
    """Serve an OpenAI-compatible interface, and a page to talk with your documents."""
    from llmkit.errors import ConfigError
    from llmkit.serve.auth.api_keys import KeyStore
    from llmkit.serve.runtime.knowledge_pool import KnowledgePool
    from llmkit.serve.server import serve
    from llmkit.serve.settings import LOOPBACK, PIPELINES, Settings
    from llmkit.serve.storage.uploads import mismatched_knowledge_base

    elsewhere = host not in LOOPBACK
    if elsewhere and keys is False:
        raise ConfigError(
            f"listening on {host} needs keys: anybody who reaches it could read the documents; leave out --no-keys"
        )
    guarded = bool(keys) or elsewhere
    if guarded and not any(not key.revoked for key in KeyStore(Path(data).expanduser()).all_keys()):
        raise ConfigError(f"there is no API key yet: llmkit keys add NAME --scope ask --data {data}")
    settings = Settings(
        host=host,
        port=port,
        allowed_hosts=hosts,
        pipelines=pipelines or PIPELINES,
        overrides=overrides,
        knowledge=Path(kb),
        data=Path(data),
        sessions=Path(sessions),
        keys=guarded,
        slots=slots,
        max_waiting=waiting,
        max_upload=int(max_upload_mb * 1e6),
        max_stored=int(quota_mb * 1e6),
        grace=grace,
    )

    def tell(address: str) -> None:
        if not KnowledgePool(settings.knowledge).exists:
            click.echo(f"no knowledge base at {kb}: the first upload makes one; another is named by --kb", err=True)
        other = mismatched_knowledge_base(settings)
        if other is not None:
            told = f"the uploads in {data} are those of {other}: the next one brings them all into {kb}, too"
            click.echo(f"{told}; another --data keeps them apart", err=True)
        click.echo(f"{address} is open; Ctrl-C ends it", err=True)

    serve(settings, tell)
