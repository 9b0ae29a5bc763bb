"""``audit scan``: every similar pair of a catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditor.commands.options import (
    EXIT_FLAGGED,
    DebugOption,
    ExitZeroOption,
    ExtractorOption,
    FarOption,
    FmaOption,
    Format,
    FormatOption,
    NoReportOption,
    OpenOption,
    OutputOption,
    QuietOption,
    Search,
    SearchOption,
    ThresholdFileOption,
    ThresholdOption,
    WorkspaceOption,
    check_report_options,
    command_line,
    finish,
    make_options,
    open_for_command,
)
from auditor.errors import UsageError

EXAMPLES = """\b
Examples:
  audit scan music/
  audit scan music/ demos/ --far 1e-3 --open
  audit scan fma_small/ --fma fma_metadata/ --workspace fma
  audit scan --threshold 0.9 --format json > pairs.json

Exit code: 0 nothing flagged, 1 something flagged, 2 error.
"""


def scan(
    context: typer.Context,
    roots: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIR",
            help="Folders or files to take in first; none to scan the catalogue as it is.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = "track",
    fma: FmaOption = None,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    threshold_file: ThresholdFileOption = None,
    search: SearchOption = Search.EXACT,
    form: FormatOption = Format.TABLE,
    output: OutputOption = None,
    no_report: NoReportOption = False,
    open_report: OpenOption = False,
    exit_zero: ExitZeroOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find every pair of similar tracks in a collection.

    Takes new and changed audio files into the catalogue, compares all tracks with each other, and
    reports the pairs at or above the threshold.
    """
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    options = make_options(
        threshold=threshold, far=far, threshold_file=threshold_file, search=search
    )
    from auditor import audit
    from auditor.progress import Progress

    with (
        open_for_command(workspace, extractor=extractor) as opened,
        Progress(quiet=quiet) as progress,
    ):
        result = audit.scan(
            opened,
            roots or [],
            options=options,
            fma=fma,
            on_event=progress,
            command=command_line(context),
        )
    finish(
        result,
        form=form,
        output=output,
        no_report=no_report,
        open_report=open_report,
        quiet=quiet,
    )
    if result.n_tracks == 0:
        raise UsageError(
            f"nothing was compared: none of the {len(result.skipped) + len(result.tracks)} files "
            "holds sound that can be embedded. Give folders of music."
        )
    if not exit_zero and any(pair.flagged for pair in result.pairs):
        raise typer.Exit(EXIT_FLAGGED)
