"""How soon a report of 5,000 pairs can be used, in headless Chromium.

Writes the report of a made-up scan, opens it from disk in a new browser again and again, and prints
the median of: first row of the table painted, table ready to be sorted, load event; and of sorting,
searching and opening a case, two frames of the display included.

Examples
--------
::

    python benchmarks/report_speed.py --pairs 5000
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from auditor.report.write import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from small_report import make_large_scan  # a scan that the browser tests use, too

WATCH = """(() => {
  const row = () => {
    const first = document.querySelector("#pairs-table tbody tr");
    if (first && first.getBoundingClientRect().height > 0)
      requestAnimationFrame(() => { window.firstRow = performance.now(); });
    else requestAnimationFrame(row);
  };
  const ready = () => {
    const shown = document.getElementById("shown");
    if (shown && shown.textContent.includes(" of ")) window.ready = performance.now();
    else requestAnimationFrame(ready);
  };
  requestAnimationFrame(row);
  requestAnimationFrame(ready);
})()"""
TIMED = """(code) => new Promise((done) => {
  const started = performance.now();
  new Function(code)();
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)));
})"""
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
SEARCH = """const box = document.getElementById("filter");
box.value = "title 12"; box.dispatchEvent(new Event("input"));"""
CLEAR = SEARCH.replace("title 12", "")
ACTIONS = {
    "sort by track A": "document.querySelector('th[data-sort=a] button').click()",
    "sort by score": "document.querySelector('th[data-sort=score] button').click()",
    "first search": SEARCH,
    "search cleared": CLEAR,
    "open a case": "document.querySelector('[data-open]').click()",
}


def measure(browser: Browser, path: Path) -> dict[str, float]:
    """Return milliseconds of one opening."""
    # The page's own policy forbids what the actions are sent as.
    context = browser.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_function("window.firstRow && window.ready")
    found = {
        "first row painted": page.evaluate("window.firstRow"),
        "table can be sorted": page.evaluate("window.ready"),
        "load event": page.evaluate(LOADED),
    }
    return found | {name: page.evaluate(TIMED, code) for name, code in ACTIONS.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--times", type=int, default=7)
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        print("Chromium is missing. Debian, Ubuntu: apt-get install chromium", file=sys.stderr)
        return 2
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = write_report(make_large_scan(args.pairs), Path(folder) / "scan.html")[0]
        print(f"{args.pairs:,} pairs, {path.stat().st_size / 1e6:.1f} MB\n")
        for _ in range(args.times):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name, ms in measure(browser, path).items():
                spent.setdefault(name, []).append(ms)
            browser.close()
    print("| | median | lowest–highest |\n| --- | --- | --- |")
    for name, values in spent.items():
        print(
            f"| {name} | {statistics.median(values):.0f} ms | {min(values):.0f}–{max(values):.0f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
