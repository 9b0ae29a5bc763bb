"""The rows of docs/design.md: imports go down only, and torch stays out of the commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "auditor"

# From the top.  A package is one module: within commands, report and augment imports are free.
ROWS = (
    ("cli",),
    ("commands",),
    ("audit", "recommend", "calibrate", "cluster", "report", "tables"),
    ("submissions", "workers", "progress", "pair_scores", "matching", "atlas"),
    ("examination", "proposals"),
    ("track_reader", "confirm"),
    (
        *(
            "ingest",
            "crew",
            "training_set",
            "decision_file",
            "review",
            "excerpt_build",
            "excerpt_pairs",
        ),
        *("search", "spectral_ranges"),
    ),
    (
        "workspace",
        "prepare",
        "candidates",
        "train",
        "decisions",
        "excerpt_index",
        "examine",
        "trim",
        "spectral_lines",
        "outline",
        "embedding_tiles",
    ),
    (
        *("embed", "catalogue", "index", "pairs", "align", "checkpoint", "training_batches"),
        *("threshold_choice", "result_csv", "excerpt_shards", "witness", "pitch", "rates"),
    ),
    (
        *("tiles", "pair_tiles", "nearest_block", "line_score", "catalogue_table"),
        *("catalogue_verify", "catalogue_decisions", "frame_store", "extractor", "loss"),
        *(
            "sampling",
            "thresholds",
            "recipes",
            "witness_track",
            "spectrum",
            "evidence_words",
            "rate_words",
            "excerpt_backend",
            "clips",
        ),
    ),
    (
        *(
            "catalogue_file",
            "catalogue_rows",
            "catalogue_spectra",
            "rate_table",
            "index_file",
            "excerpt_faiss",
            "excerpt_usearch",
            "track_versions",
            "pair_blocks",
            "features",
            "augment",
            "walk",
        ),
        *("wording", "genres", "line_fit", "clip_audio"),
    ),
    (
        *(
            "audio",
            "byte_cache",
            "line_values",
            "metrics",
            "vectors",
            "tags",
            "fma",
            "torch_audio",
            "tail",
            "schema",
        ),
        *("lines", "excerpt_votes", "png"),
    ),
    (
        *("audio_file", "mono", "encode", "verdicts", "originals", "match_score", "links"),
        *("sources", "bootstrap"),
    ),
    ("records", "media"),
    ("config", "objects"),
    ("errors", "__init__"),
)
ROW_OF = {name: i for i, row in enumerate(ROWS) for name in row}
PACKAGES = ("augment", "cluster", "commands", "report")
WITHOUT_TORCH = ("cli", "commands", "audio", "catalogue", "pairs", "index", "report")


def modules() -> dict[str, list[Path]]:
    """Return the files of each module of the table's kind."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def targets(node: ast.AST) -> list[str]:
    """Return what an import statement names, in full."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        if node.module == "auditor":  # from auditor import audit
            return [f"auditor.{alias.name}" for alias in node.names]
        return [node.module or ""]
    return []


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports anywhere in it."""
    named = {t for node in ast.walk(ast.parse(path.read_bytes())) for t in targets(node)}
    inside = {f"{t}.__init__".split(".")[1] for t in named if t.split(".")[0] == "auditor"}
    return {name if name in ROW_OF else "__init__" for name in inside}


def imported_at_once(path: Path) -> set[str]:
    """Return the top-level packages that importing a file imports."""
    found, nodes = set(), list(ast.parse(path.read_bytes()).body)
    while nodes:
        node = nodes.pop()
        found |= {target.split(".")[0] for target in targets(node)}
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
    return found


def test_every_module_has_its_row():
    names = [name for row in ROWS for name in row]
    assert len(names) == len(set(names))
    assert set(modules()) == set(names)
    folders = {name for name, paths in modules().items() if len(paths) > 1}
    assert folders == set(PACKAGES)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down_only(name):
    upward = {
        f"{path.relative_to(REPOSITORY)} imports {other}"
        for path in modules()[name]
        for other in imported(path) - {name}
        if ROW_OF[other] <= ROW_OF[name]
    }
    assert not upward


def test_the_check_sees_every_kind_of_import(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import auditor\n"
        "import auditor.index as i, os\n"
        "from auditor import audit, __version__\n"
        "from auditor.report.page import render_html\n"
        "def f():\n    from auditor.embed import embed_file\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
        "try:\n    import annoy.x\nexcept ImportError:\n    pass\n"
    )
    assert imported(path) == {"__init__", "index", "audit", "report", "embed"}
    assert imported_at_once(path) == {"auditor", "os", "numpy", "annoy"}


def test_the_design_page_shows_the_same_rows():
    page = (REPOSITORY / "docs/design.md").read_text(encoding="utf-8")
    block = re.search(r"## Modules, in rows\n.*?```\n(.*?)```", page, re.DOTALL)
    lines = [line.split("#")[0].split() for line in block[1].splitlines()]
    assert tuple(tuple(name.rstrip("/") for name in line) for line in lines if line) == ROWS


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_torch_is_imported_inside_functions_only(name):
    for path in modules()[name]:
        assert not imported_at_once(path) & {"torch", "torchaudio"}, path


def test_torch_stays_out_when_these_modules_are_imported():
    names = [
        ".".join(("auditor", *path.relative_to(PACKAGE).with_suffix("").parts))
        for name in WITHOUT_TORCH
        for path in modules()[name]
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name.removesuffix('.__init__'))\n"
        "    assert not {'torch', 'torchaudio', 'sklearn'} & set(sys.modules), name\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_nothing_is_pickled():
    for paths in modules().values():
        for path in paths:
            everywhere = {
                target.split(".")[0]
                for node in ast.walk(ast.parse(path.read_bytes()))
                for target in targets(node)
            }
            assert not everywhere & {"pickle", "shelve", "dill", "joblib", "marshal"}, path
            assert "torch.load(" not in path.read_text(encoding="utf-8"), path
