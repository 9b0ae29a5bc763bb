"""``audit leak``: whether the test set of a data set leaks into its training set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    MAX_REPORT_MB,
    BatchOption,
    DebugOption,
    Device,
    DeviceOption,
    Drop,
    ExitZeroOption,
    ExtractorOption,
    FarOption,
    FmaOption,
    Format,
    FormatOption,
    JobsOption,
    MaxFalsePairsOption,
    NoAudioOption,
    NoReportOption,
    OpenOption,
    OutputOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RayAddressOption,
    RayStorageOption,
    RedactOption,
    ReportSizeOption,
    SameOwnerOption,
    Search,
    ShowDecidedOption,
    ThresholdFileOption,
    ThresholdOption,
    VerboseOption,
    WaitOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    EXIT_FLAGGED,
    check_format,
    check_report_options,
    command_line,
    exit_code,
    finish,
    gather_media,
    keep_for_decisions,
    make_options,
    open_for_command,
    report_path,
    workers_for,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR, GPU_BATCH
from auditor.errors import UsageError, show_path

if TYPE_CHECKING:
    from auditor.records import LeakResult
    from auditor.workspace import Workspace

EXAMPLES = """\b
Examples:
  audit leak train/ test/ --val val/
  audit leak dataset/
  audit leak splits.csv --drop test
  audit leak fma_large/ --fma fma_metadata/ --groups groups.csv
  audit leak mtg-jamendo/data/splits/split-0 --audio audio/ --regroup grouped.csv

One argument is a data set whose layout says which split a file belongs to; two are the training and
the test collection.

Exit code: 0 no leak, 1 a leak, 2 error.
"""


def leak(
    context: typer.Context,
    train: Annotated[
        str,
        typer.Argument(
            metavar="TRAIN|DATASET",
            help="The training collection, or a whole data set: a folder with its splits, or a "
            "table with the columns path and split.",
            show_default=False,
        ),
    ],
    test: Annotated[
        str | None,
        typer.Argument(metavar="[TEST]", help="The test collection.", show_default=False),
    ] = None,
    val: Annotated[
        str | None,
        typer.Option("--val", metavar="COLLECTION", help="The validation collection."),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio",
            metavar="DIR",
            help="Folder that the paths of lists are relative to; by default that of the list.",
        ),
    ] = None,
    drop: Annotated[
        Drop | None,
        typer.Option(
            "--drop",
            help="Write the list of files to remove: of each leak the one in test or in train, or "
            "of each group the smaller side.",
            show_default=False,
        ),
    ] = None,
    drop_list: Annotated[
        Path | None,
        typer.Option(
            "--drop-list",
            metavar="FILE.csv",
            help="Where to write the list of --drop; remove.csv by default.",
        ),
    ] = None,
    regroup: Annotated[
        Path | None,
        typer.Option(
            "--regroup",
            metavar="FILE.csv",
            help="Write a split in which every group is on one side, as CSV, and as Parquet if "
            "pyarrow is installed.",
        ),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="FILE.csv",
            help="Write every group of near-duplicates with verdicts and times, the same bytes in "
            "each run.",
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    jobs: JobsOption = None,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    ray_address: RayAddressOption = None,
    ray_storage: RayStorageOption = None,
    fma: FmaOption = None,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    max_false_pairs: MaxFalsePairsOption = None,
    threshold_file: ThresholdFileOption = None,
    same_owner: SameOwnerOption = None,
    show_decided: ShowDecidedOption = False,
    form: FormatOption = Format.TABLE,
    output: OutputOption = None,
    no_report: NoReportOption = False,
    no_audio: NoAudioOption = False,
    max_report_size: ReportSizeOption = MAX_REPORT_MB,
    open_report: OpenOption = False,
    redact_paths: RedactOption = False,
    exit_zero: ExitZeroOption = False,
    wait: WaitOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find what the splits of a data set have in common.

    Compares all files of training, validation and test set, and reports the pairs across splits as
    leaks, with what each is, when, and which share of the test set the training set holds.
    Duplicates inside one split are listed apart.
    """
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    check_format(form)
    if drop_list is not None and drop is None:
        raise UsageError("--drop-list requires --drop. Give --drop test, train or smaller.")
    if test is None and val is not None:
        raise UsageError("--val requires two collections. Run: audit leak TRAIN TEST --val VAL")
    from auditor.audio.isolated import warm_up

    warm_up()  # it starts while the rest is imported
    options = make_options(
        threshold=threshold,
        far=far,
        threshold_file=threshold_file,
        search=Search.EXACT,
        same_owner=same_owner,
        max_false=max_false_pairs,
    )
    from auditor.api import leak as api
    from auditor.audio.fma_tags import load_fma
    from auditor.commands.progress import Progress
    from auditor.ingest.splits import find_splits, name_splits
    from auditor.workspace import workspace_directory

    metadata = load_fma(fma) if fma is not None else None
    if test is None:
        unpack_to = workspace_directory(workspace) / "datasets"
        splits = find_splits(train, unpack_to=unpack_to, audio=audio, fma=metadata)
    else:
        splits = name_splits(train, test, val, audio=audio)
    report = None if no_report else report_path(output, "leak")
    with (
        open_for_command(workspace, extractor=extractor, precision=precision, wait=wait) as opened,
        Progress(quiet=quiet) as progress,
        Progress(quiet=quiet, noun="candidate pairs") as comparing,
        workers_for(
            context,
            opened,
            jobs=jobs,
            device=device,
            batch=batch,
            ray_address=ray_address,
            ray_storage=ray_storage,
        ) as (embedder, tiles),
    ):
        result = api.find_leaks(
            opened,
            splits,
            options=options,
            fma=metadata,
            embedder=embedder,
            tiles=tiles,
            on_event=progress,
            on_pair=comparing.advance,
            command=command_line(context),
        )
        keep_for_decisions(opened.directory, result)
        written = _write_lists(
            opened, result, drop=drop, drop_list=drop_list, regroup=regroup, groups=groups
        )
        media = gather_media(
            opened,
            result,
            report,
            max_report_mb=max_report_size,
            audio=not no_audio,
            quiet=quiet,
        )
    finish(
        result,
        form=form,
        report=report,
        media=media,
        open_report=open_report,
        redact_paths=redact_paths,
        show_decided=show_decided,
        verbose=verbose,
        quiet=quiet,
    )
    for path, what in written if not quiet else ():
        print(f"{what}: {show_path(path)}", file=sys.stderr)
    if (exit_code(result) or result.listed_twice) and not exit_zero:
        raise typer.Exit(EXIT_FLAGGED)


def _write_lists(
    workspace: Workspace,
    result: LeakResult,
    *,
    drop: Drop | None,
    drop_list: Path | None,
    regroup: Path | None,
    groups: Path | None,
) -> list[tuple[Path, str]]:
    """Write the lists that were asked for; return each with what it is, for people."""
    from auditor.api.split_lists import DropSide
    from auditor.report import leak_lists
    from auditor.report.write import write_files

    contents: dict[Path, bytes] = {}
    written: list[tuple[Path, str]] = []
    if drop is not None:
        path = drop_list or Path("remove.csv")
        text, n_files = leak_lists.removal_csv(result, DropSide(drop.value))
        contents[path] = text.encode("utf-8", "backslashreplace")
        written.append((path, f"{n_files:,} files to remove"))
    if regroup is not None:
        every = {t.id: (t.path, t.sha256) for t in workspace.catalogue.tracks(damaged={})}
        files = {i: every[i] for i in result.split_of if i in every}
        text, parquet, n_moved = leak_lists.grouped_tables(result, files)
        contents[regroup] = text.encode("utf-8", "backslashreplace")
        if parquet:
            contents[regroup.with_suffix(".parquet")] = parquet
        written.append((regroup, f"grouped split, {n_moved:,} files moved"))
    if groups is not None:
        contents[groups] = leak_lists.groups_csv(result).encode("utf-8", "backslashreplace")
        written.append((groups, "groups of near-duplicates"))
    if contents:
        write_files(contents)
    return written
