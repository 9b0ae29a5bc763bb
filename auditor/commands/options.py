"""The options that several commands share: what can be typed.

``CONTEXT_DEBUG`` and ``CONTEXT_COMMAND`` are what the command line leaves in the ``meta`` of
typer's context: whether to show tracebacks, and what was typed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

CONTEXT_DEBUG = "audit.debug"
CONTEXT_COMMAND = "audit.command"

MAX_CHANCE_SHARE = 0.1
"""The same as ``scoring.composition.MAX_CHANCE_SHARE``, which would import NumPy."""


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ListFormat(StrEnum):
    """How lists are printed."""

    TABLE = "table"
    JSON = "json"


class Drop(StrEnum):
    """Whose files a removal list names; the same as ``api.split_lists.DropSide``."""

    TEST = "test"
    TRAIN = "train"
    SMALLER = "smaller"


class OwnerTag(StrEnum):
    """Tags that may name an owner; the same as ``decisions.apply.OWNER_TAGS``."""

    ARTIST = "artist"
    ALBUM = "album"
    LICENCE = "licence"


class Precision(StrEnum):
    """Arithmetic of an extractor; the same as ``embedding.config.PRECISIONS``."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class ExcerptBackend(StrEnum):
    """What finds excerpts; the same as ``excerpts.backends.annoy.BACKENDS``."""

    ANNOY = "annoy"
    FAISS = "faiss"
    USEARCH = "usearch"


class Device(StrEnum):
    """Where an extractor works."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class FailOn(StrEnum):
    """What makes a scan or check exit with 1."""

    RECORDING = "recording"
    COMPOSITION = "composition"
    IDENTIFIER = "identifier"


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
        "usearch are optional extras, whose files are not checked: open no stranger's workspace "
        "with them. The default is annoy.",
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
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="auto|ADDRESS",
        help="Run on a Ray cluster: the one at HOST:PORT; with auto, the one this machine "
        "belongs to, or a local one on all its cores.",
        show_default=False,
    ),
]
RayStorageOption = Annotated[
    str | None,
    typer.Option(
        "--cluster-storage",
        metavar="URL",
        help="Storage shared by all nodes of the cluster: a folder, or a URL such as "
        "s3://BUCKET/NAME; by default the folder cluster in the workspace.",
        show_default=False,
    ),
]
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
        help="Use the threshold at which each submission is expected to raise N false alarms; "
        "0.01 by default, 10 in 1,000 submissions.",
    ),
]
PerBatchOption = Annotated[
    bool,
    typer.Option(
        "--per-batch",
        help="Apply the budget to all submissions of this check together. A verdict then depends "
        "on how many files are checked at once.",
    ),
]
CatalogueSizeOption = Annotated[
    int | None,
    typer.Option(
        "--catalogue-size",
        metavar="N",
        min=1,
        help="Use the threshold for a catalogue of N tracks, so that it does not rise as the "
        "catalogue grows to that size; by default the tracks that are there.",
        show_default=False,
    ),
]
WideOption = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Also hear each submission at six other pitches and tempos, for copies up to an "
        "octave higher or lower and at half to twice the tempo or speed, and look for passages of "
        "three seconds. Each further file costs five to nine times as much; half of the budget is "
        "for what this adds.",
    ),
]
WideScanOption = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Also hear the tracks that no flagged pair explains at six other pitches and tempos, "
        "and look for passages of three seconds. Each costs up to nine times as much as without; "
        "half of the budget is for what this adds.",
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
CompositionsOption = Annotated[
    bool | None,
    typer.Option(
        "--compositions/--no-compositions",
        show_default=False,
        help="Also list pairs that may be the same composition, played anew. By default a scan of "
        "more than 3,000 tracks does not.",
    ),
]
MaxChanceShareOption = Annotated[
    float,
    typer.Option(
        "--max-chance-share",
        metavar="X",
        min=0.0,
        max=1.0,
        help="Flag compositions down to the line at which this share of the list is expected to "
        "be chance.",
    ),
]
FailOnOption = Annotated[
    list[FailOn] | None,
    typer.Option(
        "--fail-on",
        help="What ends with exit code 1 if it is flagged; repeatable. The default is recording.",
        show_default=False,
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
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="AUDIT_SERVER",
        help="Send the files to an audit service, which compares them with its own catalogue.",
        show_default=False,
    ),
]
ServerKeyOption = Annotated[
    str,
    typer.Option(
        "--server-key",
        metavar="KEY",
        envvar="AUDIT_SERVER_KEY",
        help="Key for that service; better given in AUDIT_SERVER_KEY.",
        show_default=False,
    ),
]
WaitOption = Annotated[
    bool,
    typer.Option("--wait", help="Wait for another audit that is writing to the workspace to end."),
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
RedactOption = Annotated[
    bool,
    typer.Option(
        "--redact-paths",
        help="Leave folders out of what is printed and written: a file keeps its name, a command "
        "loses its arguments, and pages have no links to files.",
    ),
]
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
