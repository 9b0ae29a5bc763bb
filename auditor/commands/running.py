"""What commands do with their options: open, embed, print, and write the report."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from auditor.commands.options import (
    CONTEXT_COMMAND,
    MAX_CHANCE_SHARE,
    MAX_REPORT_MB,
    Device,
    FailOn,
    Format,
    OwnerTag,
    Precision,
    Search,
)
from auditor.errors import UsageError, show_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from auditor.api.run import Options
    from auditor.ingest.prepare import Embedder
    from auditor.ingest.submissions import Submission
    from auditor.parallel import Tiles
    from auditor.records import CheckResult, Result, ScanResult
    from auditor.report.media.model import Media
    from auditor.workspace import Workspace

EXIT_FLAGGED = 1
REPORTS = Path("reports")
"""Where reports go unless told otherwise."""


def command_line(context: typer.Context) -> str:
    """Return what the user typed and a file of options added, for the provenance of a result."""
    from auditor.commands.config import typed_options

    typed = str(context.meta.get(CONTEXT_COMMAND, context.command_path))
    return " ".join([typed, *map(shlex.quote, typed_options(context))])


def make_options(
    *,
    threshold: float | None,
    far: float | None,
    threshold_file: Path | None,
    search: Search,
    same_owner: list[OwnerTag] | None = None,
    max_false: float | None = None,
    per_batch: bool = False,
    catalogue_size: int | None = None,
    wide: bool = False,
    compositions: bool | None = False,
    max_chance_share: float = MAX_CHANCE_SHARE,
) -> Options:
    """Return the options of a scan or check."""
    from auditor.api.run import Options
    from auditor.calibration.thresholds import load_thresholds

    if threshold_file is not None:
        load_thresholds(threshold_file)  # what is wrong with it is said before anything is opened
    return Options(
        threshold=threshold,
        far=far,
        search=search.value,
        threshold_file=threshold_file,
        same_owner=tuple(tag.value for tag in same_owner or ()),
        max_false=max_false,
        per_batch=per_batch,
        catalogue_size=catalogue_size,
        wide=wide,
        compositions=compositions,
        max_chance_share=max_chance_share,
    )


def check_fail_on(fail_on: Collection[FailOn] | None, *, compositions: bool | None) -> None:
    """Refuse ``--fail-on composition`` where compositions are not compared.

    Raises
    ------
    UsageError
        If they exclude each other.
    """
    if fail_on and FailOn.COMPOSITION in fail_on and compositions is False:
        raise UsageError(
            "--fail-on composition and --no-compositions cannot be combined. Give one of them."
        )


def exit_code(
    result: ScanResult | CheckResult,
    fail_on: Collection[FailOn] | None = None,
    *,
    exit_zero: bool = False,
) -> int:
    """Return 1 if something is flagged that a command is to fail on, else 0.

    Parameters
    ----------
    result : ScanResult or CheckResult
    fail_on : collection of FailOn, optional
        Recordings alone unless told otherwise.
    exit_zero : bool
        Return 0 whatever is flagged.
    """
    kinds = set(fail_on or (FailOn.RECORDING,))
    conflicts = result.identifiers
    listed = result.compositions.matches if result.compositions is not None else ()
    flagged = {
        FailOn.RECORDING: any(pair.flagged for pair in result.pairs),
        FailOn.COMPOSITION: any(match.flagged for match in listed),
        FailOn.IDENTIFIER: bool(conflicts and (conflicts.shared or conflicts.differing)),
    }
    fails = any(flagged[kind] for kind in kinds) and not exit_zero
    return EXIT_FLAGGED if fails else 0


def open_for_command(
    directory: Path | None,
    *,
    extractor: str,
    precision: Precision = Precision.FLOAT32,
    write: bool = True,
    wait: bool = False,
) -> AbstractContextManager[Workspace]:
    """Open a workspace for a command, which computes with one thread.

    Decoding takes most of the time and one thread; more threads for the small batches between it
    gain little on an idle machine and fight each other on a busy one: 4 times slower
    (benchmarks/RESULTS.md).  Several cores are used by several processes
    (``auditor.ingest.embedders``).
    """
    from auditor.parallel import one_thread, reserve_memory
    from auditor.serialisation import remove_leftovers
    from auditor.workspace import open_workspace

    remove_leftovers()
    reserve_memory()
    one_thread()
    return open_workspace(
        directory,
        extractor=extractor,
        precision=precision.value,
        write=write,
        on_wait=_say_wait if wait else None,
    )


def _say_wait(holder: str) -> None:
    """Say on stderr who is waited for."""
    print(
        f"waiting for the workspace, which is in use by {holder or 'another process'}",
        file=sys.stderr,
        flush=True,
    )


def embedder_for(workspace: Workspace, *, jobs: int | None, device: Device, batch: int) -> Embedder:
    """Return what embeds the files of a command."""
    from auditor.ingest.embedders import make_embedder

    return make_embedder(workspace.extractor, jobs=n_jobs(jobs), device=device.value, batch=batch)


@contextlib.contextmanager
def workers_for(
    context: typer.Context,
    workspace: Workspace,
    *,
    jobs: int | None,
    device: Device,
    batch: int,
    ray_address: str | None = None,
    ray_storage: str | None = None,
    roots: Sequence[str] = (),
) -> Iterator[tuple[Embedder, Tiles]]:
    """Yield what embeds files and compares pairs: here, or on a Ray cluster.

    Raises
    ------
    UsageError
        If the options exclude each other, or a node of the cluster cannot work.
    """
    from auditor.parallel import LocalTiles

    check_ray_options(ray_address, storage=ray_storage, jobs=jobs)
    if ray_address is None:
        with LocalTiles(n_jobs(jobs)) as tiles:
            yield embedder_for(workspace, jobs=jobs, device=device, batch=batch), tiles
        return
    from auditor.distributed.workers import ray_workers

    source = context.get_parameter_source("batch")
    with ray_workers(
        workspace,
        list(roots),
        address=ray_address,
        storage=ray_storage,
        device=device.value,
        batch=None if source is None or source.name == "DEFAULT" else batch,
    ) as workers:
        yield workers


def check_ray_options(address: str | None, *, storage: str | None, jobs: int | None) -> None:
    """Refuse what says nothing to a scan with ``--cluster``, or to one without it."""
    if address is None and storage is not None:
        raise UsageError("--cluster-storage requires --cluster. Give --cluster auto.")
    if address is not None and jobs is not None:
        raise UsageError(
            f"--jobs {jobs} cannot be combined with --cluster, which uses all cores of its nodes. "
            f"Leave it out; ray start --num-cpus={jobs} makes a node use fewer."
        )


def n_jobs(jobs: int | None) -> int:
    """Return the processes to use: as given, else one for each core this process may use."""
    if jobs is not None:
        return jobs
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_report_options(*, no_report: bool, output: Path | None, open_report: bool) -> None:
    """Refuse ``--no-report`` beside options that need a report.

    Raises
    ------
    UsageError
        If they exclude each other.
    """
    if no_report and (open_report or output is not None):
        other = "--open" if open_report else "--output"
        raise UsageError(f"--no-report and {other} cannot be combined. Give one of them.")


def check_format(form: Format, *, streams: bool = False) -> None:
    """Refuse a format whose library is missing, before anything is decoded.

    Raises
    ------
    UsageError
        If pyarrow is not installed.
    """
    if form is Format.JSONL and not streams:
        raise UsageError("--format jsonl is only for audit check. Give --format json.")
    if form is Format.PARQUET:
        from auditor.report.results_parquet import import_pyarrow

        import_pyarrow("--format parquet")


def print_result(
    result: Result, form: Format, *, show_decided: bool = False, verbose: bool = False
) -> None:
    """Print a result on stdout.

    Raises
    ------
    UsageError
        If Parquet is to be printed on a terminal, or pyarrow is not installed.
    """
    if form is Format.PARQUET:
        from auditor.report.results_parquet import to_parquet

        if sys.stdout.isatty():
            raise UsageError(
                "--format parquet writes binary data, which a terminal cannot show. Redirect it: "
                "> pairs.parquet"
            )
        sys.stdout.buffer.write(to_parquet(result))
    elif form is Format.JSON:
        from auditor.errors import escape_json
        from auditor.records import to_json

        print(escape_json(to_json(result)))
    elif form is Format.CSV:
        from auditor.report.terminal import to_csv

        sys.stdout.write(to_csv(result))
    else:
        from auditor.report.terminal import console_for, print_table

        print_table(result, console_for(sys.stdout), show_decided=show_decided, verbose=verbose)
    sys.stdout.flush()


def keep_for_decisions(directory: Path, result: ScanResult | CheckResult) -> None:
    """Keep a result for ``audit review`` and ``audit decide``; that it cannot be is but told."""
    from auditor.decisions.review import keep_last

    try:
        keep_last(directory, result)
    except OSError as error:
        print(
            f"audit: this {result.kind} could not be stored for audit review and audit decide: "
            f"{error.strerror or error}. Give audit review the JSON beside the report, or audit "
            "decide with --result.",
            file=sys.stderr,
        )


def gather_media(
    workspace: Workspace,
    result: ScanResult | CheckResult,
    report: Path | None,
    *,
    submissions: Sequence[Submission] = (),
    max_report_mb: float = MAX_REPORT_MB,
    audio: bool = True,
    quiet: bool = False,
) -> Media | None:
    """Return what the report lets people hear and see; None where there is no report.

    Parameters
    ----------
    workspace : Workspace
    result : ScanResult or CheckResult
    report : pathlib.Path or None
        The HTML file to come.
    submissions : sequence of Submission
        Of a check.
    max_report_mb : float
        In megabytes.
    audio : bool
        False leaves the clips out.
    quiet : bool
    """
    if report is None:
        return None
    from auditor.commands.progress import Progress
    from auditor.report.media import build

    with Progress(quiet=quiet, noun="pairs for the report") as progress:
        return build.gather_media(
            workspace,
            result,
            submissions=submissions,
            folder=report.parent,
            max_bytes=round(max_report_mb * 1e6),
            audio=audio,
            on_pair=progress.advance,
        )


def finish(
    result: Result,
    *,
    form: Format,
    report: Path | None,
    media: Media | None = None,
    open_report: bool = False,
    redact_paths: bool = False,
    show_decided: bool = False,
    verbose: bool = False,
    quiet: bool = False,
) -> None:
    """Print a result, write its report unless it is None, and say where on stderr.

    The report is written even if whoever reads stdout goes away, and the result is on stdout even
    if the report cannot be written.

    Raises
    ------
    AuditError
        If the report cannot be written.
    """
    if redact_paths:
        from auditor.report.redact import redact_media, redact_result

        result, media = redact_result(result), redact_media(media)
    try:
        print_result(result, form, show_decided=show_decided, verbose=verbose)
    finally:
        if report is not None:
            from auditor.report.write import write_report

            html, _ = write_report(result, report, media)
            if not quiet:
                print(f"report: {show_path(html)}", file=sys.stderr)
            if open_report:
                import webbrowser

                webbrowser.open(html.absolute().as_uri())


def report_path(output: Path | None, kind: str) -> Path:
    """Return the HTML file to write.

    Parameters
    ----------
    output : pathlib.Path or None
        A file that ends in .html, .htm or .json; or a folder, which gets a new file.
    kind : str
        First word of the new file's name.
    """
    folder = REPORTS if output is None else output
    suffix = "" if output is None else output.suffix.lower()
    if output is not None and suffix in (".html", ".htm", ".json") and not output.is_dir():
        return output
    stem = f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = folder / f"{stem}.html", 1
    while path.exists():
        n += 1
        path = folder / f"{stem}-{n}.html"
    return path
