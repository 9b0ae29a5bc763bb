"""The options that several commands share, and what the commands do with them.

``CONTEXT_DEBUG`` and ``CONTEXT_COMMAND`` are what the command line leaves in the ``meta`` of
typer's context: whether to show tracebacks, and what was typed.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.errors import UsageError, show_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from auditor.api.run import Options
    from auditor.ingest.prepare import Embedder
    from auditor.ingest.submissions import Submission
    from auditor.records import CheckResult, Result, ScanResult
    from auditor.report.media.model import Media
    from auditor.workspace import Workspace

CONTEXT_DEBUG = "audit.debug"
CONTEXT_COMMAND = "audit.command"

EXIT_FLAGGED = 1
REPORTS = Path("reports")
"""Where reports go unless told otherwise."""


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class ListFormat(StrEnum):
    """How lists are printed."""

    TABLE = "table"
    JSON = "json"


class OwnerTag(StrEnum):
    """Tags that may name an owner; the same as ``decisions.OWNER_TAGS``."""

    ARTIST = "artist"
    ALBUM = "album"
    LICENCE = "licence"


class Precision(StrEnum):
    """Arithmetic of an extractor; the same as ``embedding.config.PRECISIONS``."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class ExcerptBackend(StrEnum):
    """What finds excerpts; the same as ``excerpt_backend.BACKENDS``."""

    ANNOY = "annoy"
    FAISS = "faiss"
    USEARCH = "usearch"


class Device(StrEnum):
    """Where an extractor works."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Search(StrEnum):
    """How pairs are found."""

    EXACT = "exact"
    ANNOY = "annoy"


def _remember_debug(context: typer.Context, debug: bool) -> bool:
    if debug:
        context.meta[CONTEXT_DEBUG] = True
    return debug


WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        metavar="DIR",
        envvar="AUDIT_WORKSPACE",
        help="Folder of the catalogue and its index; .audit by default.",
    ),
]
ExtractorOption = Annotated[
    str,
    typer.Option(
        "--extractor",
        metavar="NAME|FILE",
        help="A pretrained extractor, or a weights file written by audit train.",
    ),
]
ExcerptIndexOption = Annotated[
    ExcerptBackend | None,
    typer.Option(
        "--excerpt-index",
        help="Rebuild the excerpt index with this backend, and use it from then on; faiss and "
        "usearch are optional extras. The default is annoy.",
        show_default=False,
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        help="Processes that decode, embed and compare; by default one per core.",
        show_default=False,
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="Arithmetic of the extractor. bfloat16 is faster on processors that support it; its "
        "embeddings are stored separately from float32 ones.",
    ),
]
DeviceOption = Annotated[
    Device,
    typer.Option("--device", help="Where the extractor runs; auto uses a GPU if there is one."),
]
BatchOption = Annotated[
    int, typer.Option("--batch", min=1, metavar="N", help="Windows per GPU batch.")
]
GPU_BATCH = 512
"""The same as ``workers.GPU_BATCH``, which cannot be imported without torch."""

FmaOption = Annotated[
    Path | None,
    typer.Option(
        "--fma",
        metavar="DIR",
        help="Folder with FMA's tracks.csv and genres.csv, for its ids, titles and genres.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        "--threshold", min=-1.0, max=1.0, help="Flag pairs that score this high or higher, up to 1."
    ),
]
FarOption = Annotated[
    float | None,
    typer.Option(
        "--far",
        min=0.0,
        max=1.0,
        help="Use the calibrated threshold for this false alarm rate per pair, such as 1e-3.",
    ),
]
MaxFalsePairsOption = Annotated[
    float | None,
    typer.Option(
        "--max-false-pairs",
        metavar="N",
        min=0.0,
        help="Use the threshold at which the whole scan is expected to raise N false pairs; 1 by "
        "default.",
    ),
]
MaxFalseAlarmsOption = Annotated[
    float | None,
    typer.Option(
        "--max-false-alarms",
        metavar="N",
        min=0.0,
        help="Use the threshold at which the whole check is expected to raise N false alarms; "
        "0.01 by default.",
    ),
]
ThresholdFileOption = Annotated[
    Path | None,
    typer.Option("--threshold-file", metavar="FILE", help="Calibration to use (a JSON file)."),
]
SearchOption = Annotated[
    Search,
    typer.Option(
        "--search", help="Compare all pairs, or only those that the Annoy index proposes."
    ),
]
SameOwnerOption = Annotated[
    list[OwnerTag] | None,
    typer.Option(
        "--same-owner",
        help="Set pairs aside when both tracks have the same value of this tag, and so the same "
        "owner; repeatable.",
    ),
]
ShowDecidedOption = Annotated[
    bool, typer.Option("--show-decided", help="Also list the pairs set aside by decisions.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="What to print on stdout.")]
ListFormatOption = Annotated[ListFormat, typer.Option("--format", help="What to print on stdout.")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR|FILE.html",
        help="Where to write the report; by default a new file in reports/.",
    ),
]
NoReportOption = Annotated[bool, typer.Option("--no-report", help="Do not write a report.")]
OpenOption = Annotated[bool, typer.Option("--open", help="Open the report in the browser.")]
NoAudioOption = Annotated[
    bool, typer.Option("--no-audio", help="Leave audio clips out of the report.")
]
ReportSizeOption = Annotated[
    float,
    typer.Option(
        "--max-report-size",
        min=0.0,
        metavar="MB",
        help="Maximum size of the clips and pictures in the report.",
    ),
]
MAX_REPORT_MB = 25.0
ExitZeroOption = Annotated[
    bool, typer.Option("--exit-zero", help="Exit with 0 even if something is flagged.")
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print results, skipped files and errors, no progress."),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also show how the threshold was chosen and what share of copies it finds.",
    ),
]
DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug",
        callback=_remember_debug,
        help="Show the traceback of an error, for a bug report.",
    ),
]


def command_line(context: typer.Context) -> str:
    """Return what the user typed, for the provenance of a result."""
    return str(context.meta.get(CONTEXT_COMMAND, context.command_path))


def make_options(
    *,
    threshold: float | None,
    far: float | None,
    threshold_file: Path | None,
    search: Search,
    same_owner: list[OwnerTag] | None = None,
    max_false: float | None = None,
) -> Options:
    """Return the options of a scan or check."""
    from auditor.api.run import Options

    return Options(
        threshold=threshold,
        far=far,
        search=search.value,
        threshold_file=threshold_file,
        same_owner=tuple(tag.value for tag in same_owner or ()),
        max_false=max_false,
    )


def open_for_command(
    directory: Path | None,
    *,
    extractor: str,
    precision: Precision = Precision.FLOAT32,
    write: bool = True,
) -> AbstractContextManager[Workspace]:
    """Open a workspace for a command, with one torch thread.

    Decoding takes most of the time and one thread; more threads for the small batches between it
    gain little on an idle machine and fight each other on a busy one: 4 times slower
    (benchmarks/RESULTS.md).  Several cores are used by several processes
    (``auditor.ingest.embedders``).
    """
    import torch

    from auditor.workspace import open_workspace

    torch.set_num_threads(1)
    return open_workspace(directory, extractor=extractor, precision=precision.value, write=write)


def embedder_for(workspace: Workspace, *, jobs: int | None, device: Device, batch: int) -> Embedder:
    """Return what embeds the files of a command."""
    from auditor.ingest.embedders import make_embedder

    return make_embedder(workspace.extractor, jobs=n_jobs(jobs), device=device.value, batch=batch)


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


def print_result(
    result: Result, form: Format, *, show_decided: bool = False, verbose: bool = False
) -> None:
    """Print a result on stdout."""
    if form is Format.JSON:
        from auditor.errors import escape_json
        from auditor.records import to_json

        print(escape_json(to_json(result)))
    elif form is Format.CSV:
        from auditor.report.terminal import to_csv

        sys.stdout.write(to_csv(result))
    else:
        from rich.console import Console

        from auditor.report.terminal import print_table

        print_table(result, Console(), show_decided=show_decided, verbose=verbose)
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
    from auditor.commands.progress import Progress
    from auditor.report.media.build import make_media

    if report is None:
        return None
    submitted = {s.track.id: s for s in submissions}
    paths = {entry[0]: path for path, entry in workspace.catalogue.stamps().items()}
    paths |= {track_id: s.path for track_id, s in submitted.items()}

    def dvectors(track_id: str) -> tuple[np.ndarray, np.ndarray]:
        if track_id in submitted:
            return submitted[track_id].dvectors, submitted[track_id].levels
        return workspace.catalogue.dvectors(track_id, workspace.weights_id)

    with Progress(quiet=quiet, noun="pairs for the report") as progress:
        return make_media(
            result,
            paths=paths,
            dvectors=dvectors,
            hop_s=workspace.hop_s,
            window_s=workspace.window_s,
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
