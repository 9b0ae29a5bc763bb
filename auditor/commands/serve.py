"""``audit serve``: the audit as a service, and the keys of its callers."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    CatalogueSizeOption,
    DebugOption,
    ExtractorOption,
    ListFormat,
    ListFormatOption,
    MaxFalseAlarmsOption,
    Precision,
    PrecisionOption,
    SameOwnerOption,
    WideOption,
    WorkspaceOption,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.errors import UsageError, show_text

if TYPE_CHECKING:
    from auditor.serve.store import Store

EXAMPLES = """\b
Examples:
  audit serve --workspace music/.audit
  curl --form file=@new.mp3 'http://127.0.0.1:8321/v1/checks?wait=30'
  audit serve keys add ingest --scope check
  audit serve --host 0.0.0.0 --root /incoming --callback-host hooks.example.com
"""
KEYS_EXAMPLES = """\b
Examples:
  audit serve keys add ingest --scope check
  audit serve keys add ana --scope check --scope decide
  audit serve keys list
  audit serve keys revoke 1a2b3c4d
"""

app = typer.Typer(
    help="Serve checks over HTTP, with pages for those who decide.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
keys = typer.Typer(
    help="Keys that callers of the service give, and what each may do.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(keys, name="keys", epilog=KEYS_EXAMPLES)


@app.callback()
def serve(
    context: typer.Context,
    workspace: WorkspaceOption = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen at. Any but that of this machine alone requires a key."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes one that is free.")] = (
        8321
    ),
    public_url: Annotated[
        str,
        typer.Option(metavar="URL", help="How others reach the service, such as by a proxy."),
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes that check; by default one per core.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Severities by verdict, and what is allowed."),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|URL",
            help="Requests may name files below this folder or URL; repeatable.",
            show_default=False,
        ),
    ] = None,
    callback_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Webhooks may go to this host, or with *.HOST to all below it; repeatable.",
            show_default=False,
        ),
    ] = None,
    private_callbacks: Annotated[
        bool,
        typer.Option(
            "--private-callbacks", help="Those hosts may have addresses that are not public."
        ),
    ] = False,
    max_upload: Annotated[
        float, typer.Option(min=0.001, metavar="MB", help="Size of an upload at most.")
    ] = 500.0,
    max_queue: Annotated[
        int, typer.Option(min=1, metavar="N", help="Checks that may wait.")
    ] = 1000,
    max_disk: Annotated[
        float, typer.Option(min=0.001, metavar="MB", help="Size of all uploads at most.")
    ] = 20_000.0,
    rate: Annotated[
        int, typer.Option(min=1, metavar="N", help="Requests that a key may send in a minute.")
    ] = 600,
    keep_uploads: Annotated[
        float,
        typer.Option(min=0.0, metavar="HOURS", help="Keep an upload so long after its check."),
    ] = 0.0,
    keep_results: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Keep a check and its result so long.")
    ] = 30.0,
    wide: WideOption = False,
    compositions: Annotated[
        bool,
        typer.Option("--compositions", help="Also list tracks that may be the same composition."),
    ] = False,
    ray_address: Annotated[
        str,
        typer.Option(
            "--cluster",
            metavar="HOST:PORT|URL",
            help="Embed on the Ray cluster at HOST:PORT, or at ray://HOST:10001.",
        ),
    ] = "",
    ray_storage: Annotated[
        Path | None,
        typer.Option(
            "--cluster-storage",
            metavar="DIR",
            help="Folder that all nodes of the cluster see, for uploads and embeddings; by default "
            "the folder cluster in the workspace.",
            show_default=False,
        ),
    ] = None,
    max_false_alarms: MaxFalseAlarmsOption = None,
    catalogue_size: CatalogueSizeOption = None,
    same_owner: SameOwnerOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    debug: DebugOption = False,
) -> None:
    """Serve checks over HTTP, with pages for those who decide.

    The first line on stdout is the address. Logs go to stderr, one JSON object a line. SIGTERM ends
    the service when its workers have finished what they are at.
    """
    if context.invoked_subcommand is not None:
        return
    _require_extra()
    from auditor.commands.running import n_jobs
    from auditor.serve.policy import Policy, load_policy
    from auditor.serve.server import run
    from auditor.serve.settings import MIB, Settings, check_root, check_shared
    from auditor.workspace import workspace_directory

    settings = Settings(
        workspace=workspace_directory(workspace),
        host=host,
        port=port,
        public_url=public_url,
        n_workers=n_jobs(workers),
        extractor=extractor,
        precision=precision.value,
        max_false_alarms=max_false_alarms,
        catalogue_size=catalogue_size,
        same_owner=tuple(tag.value for tag in same_owner or ()),
        wide=wide,
        compositions=compositions,
        policy=Policy() if policy is None else load_policy(policy),
        roots=tuple(map(check_root, root or ())),
        callback_hosts=tuple(callback_host or ()),
        private_callbacks=private_callbacks,
        max_upload_bytes=round(max_upload * 1e6),
        max_waiting=max_queue,
        max_disk_bytes=round(max_disk * MIB),
        rate_per_minute=rate,
        keep_uploads_s=3600.0 * keep_uploads,
        keep_results_s=86_400.0 * keep_results,
        ray_address=ray_address,
        shared=check_shared(ray_address, ray_storage),
    )
    run(settings, on_listening=lambda url: print(f"listening at {url}", flush=True))


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"audit serve needs {error.name}. Run: pip install 'auditor[serve]'"
        ) from None


def _open_store(workspace: Path | None) -> Store:
    from auditor.serve.store import open_store
    from auditor.workspace import workspace_directory

    return open_store(workspace_directory(workspace) / "service" / "service.sqlite3")


@keys.command("add", epilog="\b\nExample:\n  audit serve keys add ingest --scope check\n")
def add_key(
    name: Annotated[str, typer.Argument(help="Whose key it is; checks belong to this name.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="check|decide|admin",
            help="What the key may do; repeatable. admin includes the others.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    debug: DebugOption = False,
) -> None:
    """Make a key, and print it: it is stored nowhere."""
    store = _open_store(workspace)
    try:
        key, text = store.add_key(name, scope or [])
    finally:
        store.close()
    print(f"key {key.id} of {name}: {', '.join(key.scopes)}", file=sys.stderr)
    print(text)


@keys.command("list", epilog="\b\nExample:\n  audit serve keys list --format json\n")
def list_keys(
    workspace: WorkspaceOption = None,
    form: ListFormatOption = ListFormat.TABLE,
    debug: DebugOption = False,
) -> None:
    """List the keys, those revoked too."""
    store = _open_store(workspace)
    try:
        found = store.keys()
    finally:
        store.close()

    def when(seconds: float | None) -> str | None:
        if seconds is None:
            return None
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    if form is ListFormat.JSON:
        rows = [
            {
                "id": key.id,
                "name": key.name,
                "scopes": key.scopes,
                "created": when(key.created),
                "revoked": when(key.revoked),
            }
            for key in found
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for key in found:
        state = f"revoked {when(key.revoked)}" if key.revoked else f"made {when(key.created)}"
        print(f"{key.id}  {show_text(key.name)}  {','.join(key.scopes)}  {state}")
    if not found:
        print("there is no key. Run: audit serve keys add NAME --scope check", file=sys.stderr)


@keys.command("revoke", epilog="\b\nExample:\n  audit serve keys revoke 1a2b3c4d\n")
def revoke_key(
    key: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, from keys list.")],
    workspace: WorkspaceOption = None,
    debug: DebugOption = False,
) -> None:
    """Revoke a key at once, and end its sessions."""
    store = _open_store(workspace)
    try:
        found = store.revoke_key(key)
    finally:
        store.close()
    print(f"{found.id} of {show_text(found.name)} is revoked")
