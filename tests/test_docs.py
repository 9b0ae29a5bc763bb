"""Documents: links lead to files and headings, pages stand in the site's menu, Python compiles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import auditor

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(REPOSITORY / "docs").rglob("*.md"),
        REPOSITORY / "benchmarks/RESULTS.md",
    ]
)
NAMES = [page.relative_to(REPOSITORY).as_posix() for page in PAGES]


def links(text: str) -> list[str]:
    """Return the targets of the links and pictures of a page; code holds none."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for link in links(text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        file = (page.parent / target) if target else page
        if not file.exists():
            found.append(link)
        elif anchor and file.suffix == ".md":
            known = anchors(text if file == page else file.read_text(encoding="utf-8"))
            if anchor not in known:
                found.append(link)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = REPOSITORY / name
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "there.md").write_text("# One heading\n")
    text = "[a](there.md) [b](gone.md) [c](there.md#one-heading) [d](there.md#none) `[e](x.md)`"
    assert broken(tmp_path / "page.md", text) == ["gone.md", "there.md#none"]


def test_every_page_stands_in_the_menu_of_the_site():
    menu = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (REPOSITORY / "docs").rglob("*.md"):
        assert f": {page.relative_to(REPOSITORY / 'docs').as_posix()}\n" in menu, page


@pytest.mark.parametrize("name", NAMES)
def test_python_of_the_pages_compiles(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(block, name, "exec")


def test_what_the_api_page_names_exists():
    text = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)
    assert len(names) >= 8
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(__import__(module, fromlist=[attribute]), attribute), name


def missing_from(page: str, names: list[str]) -> list[str]:
    """Return the names of ``auditor`` that a page does not document or show as ``auditor.NAME``."""
    documented = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    missing = []
    for name in names:
        value = getattr(auditor, name)
        home = f"{getattr(value, '__module__', 'auditor')}.{name}"
        if home not in documented and f"`auditor.{name}`" not in page:
            missing.append(name)
    return missing


def test_the_api_page_covers_every_name_of_auditor():
    text = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")
    assert missing_from(text, auditor.__all__) == []


def test_a_name_that_the_api_page_lacks_is_found():
    page = (
        "::: auditor.api.scan.scan\n\n`auditor.__version__`, `check`, ::: auditor.records.to_json\n"
    )
    assert missing_from(page, ["scan", "__version__", "check", "to_json"]) == ["check", "to_json"]


DATED = ("CHANGELOG.md", "benchmarks/RESULTS.md")
"""Pages that say what was there on a date."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DATED])
def test_files_that_a_page_names_exist(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:auditor|benchmarks|docs|tests)/[\w./-]+\.\w+)`", text)
    assert [path for path in named if not (REPOSITORY / path).exists()] == []
