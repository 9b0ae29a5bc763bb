"""Hooks of the documentation site: pages of the repository that lie outside ``docs/``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path("benchmarks/RESULTS.md")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the benchmark's results as a page."""
    text = RESULTS.read_text(encoding="utf-8")
    files.append(File.generated(config, "RESULTS.md", content=_inside(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the results to that page."""
    return _inside(markdown)


def _inside(markdown: str) -> str:
    within = re.sub(r"\]\((?:\.\./)+benchmarks/RESULTS\.md", "](RESULTS.md", markdown)
    return re.sub(r"\]\(\.\./docs/", "](", within)
