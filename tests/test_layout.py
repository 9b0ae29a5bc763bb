"""The rule of docs/design.md: imports go down only, and torch stays out of the commands."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "auditor"

LAYERS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("serve",),
    ("report",),
    ("api", "distributed"),
    ("scoring", "decisions"),
    ("ingest", "training"),
    ("search", "evidence"),
    ("workspace",),
    ("catalogue", "calibration", "augment"),
    ("embedding",),
    ("audio",),
    ("records", "parallel"),
    ("serialisation",),
    ("errors", "__init__"),
)
"""From the top.  A module or package imports what stands in the layers below its own."""

LAYER_OF = {name: i for i, layer in enumerate(LAYERS) for name in layer}
TORCH_AT_ONCE = {
    "auditor.embedding.network",
    "auditor.augment.bands",
}
"""Modules that import torch when they are imported, beside those of ``training``."""
WITH_TORCH = ("embedding", "augment", "training")
WITHOUT_TORCH = tuple(sorted(LAYER_OF.keys() - set(WITH_TORCH)))
MAX_ENTRIES = 26
"""Modules and folders directly in the package."""


def modules() -> dict[str, list[Path]]:
    """Return the files of each top-level module or package."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def dotted(path: Path) -> str:
    """Return the name by which a file is imported."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_bytes())


def targets(node: ast.AST) -> list[str]:
    """Return what an import statement may name, in full."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        module = node.module or ""
        return [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return []


@functools.cache
def imported(path: Path) -> set[str]:
    """Return the top-level modules and packages of ``auditor`` that a file imports anywhere."""
    named = {t for node in ast.walk(parsed(path)) for t in targets(node)}
    inside = {f"{t}.__init__".split(".")[1] for t in named if t.split(".")[0] == "auditor"}
    return {name if name in LAYER_OF else "__init__" for name in inside}


@functools.cache
def imported_at_once(path: Path) -> set[str]:
    """Return the modules that importing a file imports: not those inside functions."""
    found, nodes = set(), list(parsed(path).body)
    while nodes:
        node = nodes.pop()
        found |= set(targets(node))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        nodes += ast.iter_child_nodes(node)
    return found


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a cycle of imports, or nothing."""
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> list[str]:
        state[name] = 1
        for other in sorted(graph[name]):
            if state.get(other) == 1:
                return [*trail[trail.index(other) :], other]
            if other not in state and (cycle := visit(other, [*trail, other])):
                return cycle
        state[name] = 2
        return []

    for name in sorted(graph):
        if name not in state and (cycle := visit(name, [name])):
            return cycle
    return []


def test_every_module_and_package_has_its_layer():
    names = [name for layer in LAYERS for name in layer]
    assert len(names) == len(set(names))
    assert set(modules()) == set(names)


def test_the_package_has_few_doors():
    entries = {p.name for p in PACKAGE.iterdir() if not p.name.startswith(("__pycache__", "."))}
    assert len(entries) <= MAX_ENTRIES, sorted(entries)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down_only(name):
    upward = {
        f"{path.relative_to(REPOSITORY)} imports {other}"
        for path in modules()[name]
        for other in imported(path) - {name}
        if LAYER_OF[other] <= LAYER_OF[name]
    }
    assert not upward


def test_no_module_imports_itself_by_way_of_others():
    names = {dotted(path): path for paths in modules().values() for path in paths}
    graph = {
        name: {target for target in imported_at_once(path) if target in names} - {name}
        for name, path in names.items()
    }
    assert not find_cycle(graph)


def test_a_cycle_is_found():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_every_package_says_what_it_offers():
    for path in PACKAGE.rglob("__init__.py"):
        tree = parsed(path)
        assert ast.get_docstring(tree), path


def test_the_check_sees_every_kind_of_import(tmp_path):
    path = tmp_path / "sample.py"
    path.write_text(
        "import auditor\n"
        "import auditor.search.exact as i, os\n"
        "from auditor import audio, __version__\n"
        "from auditor.report.html.page import render_html\n"
        "def f():\n    from auditor.embedding.embed import embed_file\n"
        "if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy\n"
        "try:\n    import annoy.x\nexcept ImportError:\n    pass\n"
    )
    assert imported(path) == {"__init__", "search", "audio", "report", "embedding"}
    at_once = {name.split(".")[0] for name in imported_at_once(path)}
    assert at_once == {"auditor", "os", "numpy", "annoy"}


def test_the_design_page_shows_the_same_layers():
    page = (REPOSITORY / "docs/design.md").read_text(encoding="utf-8")
    block = re.search(r"## Dependency rule\n.*?```\n(.*?)```", page, re.DOTALL)
    lines = [line.split("#")[0].split() for line in block[1].splitlines()]
    assert tuple(tuple(name.rstrip("/") for name in line) for line in lines if line) == LAYERS


def test_the_look_ups_of_the_design_page_name_files():
    page = (REPOSITORY / "docs/design.md").read_text(encoding="utf-8")
    block = re.search(r"## Where do I find\n(.*?)\n## ", page, re.DOTALL)
    rows = [row for row in block[1].splitlines() if row.startswith("| ")][1:]
    files = [re.findall(r"`([\w/.]+\.(?:py|j2|js))`", row) for row in rows]
    assert len(rows) == 12
    assert all(files)
    for name in (name for row in files for name in row):
        assert (PACKAGE / name).is_file(), name
    n_files = sum(map(len, files[:9]))
    assert n_files <= 20
    assert f"name {n_files} files." in block[1]


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_torch_is_imported_inside_functions_only(name):
    for path in modules()[name]:
        at_once = {target.split(".")[0] for target in imported_at_once(path)}
        assert not at_once & {"torch"}, path


def test_few_modules_need_torch_to_be_imported():
    paths = [path for name in WITH_TORCH if name != "training" for path in modules()[name]]
    needing = {dotted(p) for p in paths if any(t == "torch" for t in imported_at_once(p))}
    assert needing == TORCH_AT_ONCE


def test_torch_stays_out_when_these_modules_are_imported():
    names = [dotted(path) for name in WITHOUT_TORCH for path in modules()[name]]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert not {'torch', 'sklearn'} & set(sys.modules), name\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_check_imports_neither_scipy_nor_the_decoder_of_its_worker():
    code = (
        "import sys, auditor.api.check, auditor.commands.check\n"
        "assert not {'scipy', 'av'} & set(sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_command_imports_none_of_the_others():
    code = (
        "import contextlib, sys\n"
        "from auditor.cli import COMMANDS, main\n"
        "sys.argv = ['audit', 'check', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "loaded = {name for name in COMMANDS if f'auditor.commands.{name}' in sys.modules}\n"
        "assert loaded == {'check', 'config'}, loaded\n"
        "from auditor.cli import app\n"
        "assert all(f'auditor.commands.{name}' in sys.modules for name in COMMANDS)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_class_has_a_name_of_its_own():
    named: dict[str, list[str]] = {}
    for path in (path for paths in modules().values() for path in paths):
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named.setdefault(node.name, []).append(dotted(path))
    twice = {name: where for name, where in named.items() if len(where) > 1}
    # A scoring model keeps to the protocol ``scoring.base.Scorer``, and has its name.
    assert all(where.startswith("auditor.scoring.") for where in twice.pop("Scorer"))
    assert not twice


def test_progress_and_clusters_mean_one_thing():
    """``Progress`` shows what ``on_...`` reports; clusters are of tracks, not machines."""
    for name, paths in modules().items():
        for path in paths:
            nodes = list(ast.walk(parsed(path)))
            arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
            assert "progress" not in arguments, path
            if name in ("commands", "distributed"):
                functions = (node for node in nodes if isinstance(node, ast.FunctionDef))
                named = arguments | {node.name for node in functions}
                assert {word for word in named if "cluster" in word} <= {"ray_cluster"}, path


def test_things_are_named_by_nouns():
    """No participle stands for a thing among public classes, functions and constants."""
    avoided = {"crew", "heard", "made", "told", "kept", "stillborn", "outline", "stretches"}
    for path in (path for paths in modules().values() for path in paths):
        names: set[str] = set()
        for node in parsed(path).body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                names.add(node.name)
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                goals = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {goal.id for goal in goals if isinstance(goal, ast.Name)}
        for name in names:
            words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
            if not name.startswith("_"):
                assert not avoided & {word.lower() for word in words}, f"{path}: {name}"


def test_options_are_typed_in_one_file_and_acted_on_in_another():
    options, running = (PACKAGE / f"commands/{name}.py" for name in ("options", "running"))
    functions = {
        node.name for node in ast.walk(parsed(options)) if isinstance(node, ast.FunctionDef)
    }
    assert functions == {"_remember_debug"}  # typer calls it while it reads the command line
    assert "typer.Option" not in running.read_text(encoding="utf-8")


def test_nothing_is_pickled():
    for paths in modules().values():
        for path in paths:
            everywhere = {
                target.split(".")[0] for node in ast.walk(parsed(path)) for target in targets(node)
            }
            assert not everywhere & {"pickle", "shelve", "dill", "joblib", "marshal"}, path
            assert "torch.load(" not in path.read_text(encoding="utf-8"), path


def test_only_the_decoding_process_reads_what_strangers_encoded():
    readers = {("auditor.audio.tags", "read_tags"), ("auditor.audio.decode", "AudioReader")}
    importers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom)
        and any((node.module, alias.name) in readers for alias in node.names)
    }
    assert importers == {"audio/decoder_process.py"}
