"""The sample report: an invented catalogue with copies planted in it, scanned as a user would.

``make sample`` runs it.  The pieces of ``sample_catalogue`` and their copies are written below a
neutral folder, one pair is decided, ``audit scan`` runs, and its report becomes
``reports/sample.html``.  What was found is compared with what was planted.

::

    python benchmarks/sample_report.py --output reports/sample.html
    python benchmarks/sample_report.py --pictures docs/pictures

The same machine makes the same page, apart from the dates and the seconds that the scan took.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sample_catalogue import CATALOGUE, COPIES, COVER, COVERED, UPLOADS, make_library

from auditor.errors import AuditError, UsageError, show_path
from auditor.records import ScanResult, result_from_json
from auditor.report.html.page import render_html
from auditor.report.write import load_report

LIBRARY = Path("/tmp/library")
"""Paths in the page begin with this; it says nothing of the machine."""

PAGE = Path("reports/sample.html")
BUDGET = 0.05
"""False pairs to be expected: all pieces are played by one synthesiser, so strangers are alike."""

MAX_REPORT_MB = 1.5

PICTURED = "Overnight Express"
WIDE = {"width": 1440, "height": 1100}
TALL = {"width": 1440, "height": 2400}
MARGIN_PX = 14
N_COLOURS = 64
"""Of the pictures: a title whose first case is shown, viewports, what is left out
above the tables of tags, size of the palette."""


def run_audit(folder: Path, *arguments: str, ok: Sequence[int] = (0,)) -> None:
    """Run one command line of ``audit`` in a folder, shown as it would be typed.

    Raises
    ------
    AuditError
        If it ends with another exit code than the ``ok`` ones.
    """
    line = shlex.join(["audit", *arguments])
    print(f"$ {line}", file=sys.stderr, flush=True)
    known = {key: value for key, value in os.environ.items() if not key.startswith("AUDIT_")}
    done = subprocess.run(
        [sys.executable, "-m", "auditor.cli", *arguments],
        cwd=folder,
        env={**known, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode not in ok:
        raise AuditError(
            f"that command ended with exit code {done.returncode}; {ok} was expected. "
            f"Its message stands above; the files are in {show_path(folder)}"
        )


def scan_library(folder: Path, page: str) -> ScanResult:
    """Take the library in, decide one pair, scan with ``BUDGET``; return the result."""
    run_audit(folder, "scan", CATALOGUE, UPLOADS, "--no-report", "--quiet", ok=(1,))
    for copy in COPIES:
        if copy.decision:
            run_audit(
                folder, "decide", copy.original, copy.file, "--as", copy.decision,
                "--note", copy.note, "--by", "Ana Reyes",
            )  # fmt: skip
    run_audit(
        folder, "scan", CATALOGUE, UPLOADS, "--max-report-size", f"{MAX_REPORT_MB:g}",
        "--max-false-pairs", f"{BUDGET:g}", "--output", page, ok=(1,),
    )  # fmt: skip
    result = result_from_json((folder / page).with_suffix(".json").read_text(encoding="utf-8"))
    if not isinstance(result, ScanResult):
        raise AuditError(f"{show_path(page)} holds no scan. Run it again with --debug.")
    return result


def render_alone(page: Path) -> str:
    """Return a report as a page that is given away without the music: no link to a file."""
    result, media = load_report(page.with_suffix(".json"))
    if media is not None:
        tracks = tuple(dataclasses.replace(track, link="") for track in media.tracks)
        media = dataclasses.replace(media, tracks=tracks)
    return render_html(result, media)


def compare(result: ScanResult, folder: Path) -> list[str]:
    """Return in words where the scan differs from what was planted; nothing where it does not."""
    path_of = {t.id: os.path.relpath(t.path, folder) for t in result.tracks}
    shown = [pair for pair in result.pairs if pair.flagged or pair.decision]
    pairs = {frozenset((path_of[p.a], path_of[p.b])): p for p in shown}
    said = []
    for copy in COPIES:
        pair = pairs.pop(frozenset((copy.file, copy.original)), None)
        if pair is None:
            said.append(f"{copy.file}: not found; planted: {copy.what}")
        elif pair.verdict != copy.verdict:
            said.append(f"{copy.file}: {pair.verdict!r}; {copy.verdict!r} was planted")
        elif pair.decision != copy.decision:
            said.append(f"{copy.file}: decided as {pair.decision!r}; {copy.decision!r} was planted")
    said += [f"{' | '.join(sorted(k))}: {p.verdict}; not planted" for k, p in pairs.items()]
    lines = result.compositions.matches if result.compositions else ()
    covers = {frozenset((path_of[m.a], path_of[m.b])) for m in lines if m.flagged}
    planted = frozenset((COVER.file, COVERED.file))
    if planted not in covers:
        said.append(f"{COVER.file}: not found as a composition")
    said += [f"{' | '.join(sorted(k))}: same composition; not planted" for k in covers - {planted}]
    return said


def take_pictures(page: Path, folder: Path) -> None:
    """Write ``report.png``, the top of a page, and ``case.png``, one of its cases.

    Raises
    ------
    UsageError
        If Playwright, Pillow or Chromium is not installed.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from PIL import Image
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UsageError(
            f"{error.name} is not installed; pictures need it. Run: make test-browser"
        ) from None
    if chromium is None:
        raise UsageError("no chromium is installed; pictures need one. Run: apt install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=root)
        view = browser.new_page(viewport=WIDE, color_scheme="light")
        view.goto(page.absolute().as_uri())
        view.screenshot(path=folder / "report.png")
        view.set_viewport_size(TALL)
        row = view.locator("tr[data-row]", has_text=PICTURED).first
        row.locator("[data-open]").click()
        case = view.locator("#case")
        case.evaluate("dialog => { dialog.style.height = 'auto'; }")  # whole, not scrolled
        frame = case.bounding_box()
        end = view.get_by_role("heading", name="Both tracks").bounding_box()
        frame["height"] = end["y"] - frame["y"] - MARGIN_PX
        view.screenshot(path=folder / "case.png", clip=frame)
        browser.close()
    for name in ("report.png", "case.png"):
        with Image.open(folder / name) as picture:
            picture.convert("RGB").quantize(N_COLOURS).save(folder / name, optimize=True)


def main() -> int:
    """Make the library, scan it, keep the page; return 1 if it differs from the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write")
    parser.add_argument(
        "--library", type=Path, default=LIBRARY, help="a new folder, whose name the page shows"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="picture the page that is there, no more"
    )
    parser.add_argument("--keep", action="store_true", help="keep the library")
    options = parser.parse_args()
    folder = options.library.resolve()
    try:
        if options.pictures is not None:
            take_pictures(options.output, options.pictures)
            return 0
        make_library(folder)
        result = scan_library(folder, str(Path("reports", options.output.name)))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(render_alone(folder / "reports" / options.output.name), "utf-8")
    except AuditError as error:
        print(f"sample: {error}", file=sys.stderr)
        return 2
    differences = compare(result, folder)
    for line in differences:
        print(f"differs: {line}", file=sys.stderr)
    if not options.keep:
        shutil.rmtree(folder)
    size_mb = options.output.stat().st_size / 1e6
    print(f"{show_path(options.output)}: {len(result.pairs)} pairs, {size_mb:.1f} MB")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
