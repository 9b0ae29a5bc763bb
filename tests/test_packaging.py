"""Tests of the wheel: what it holds, what it leaves out, and that it works away from its source."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import auditor
from auditor.embedding.config import DEFAULT_EXTRACTOR

ROOT = Path(__file__).parents[1]
MAX_WEIGHTS_BYTES = 12_000_000
ALLOWED = re.compile(
    r"auditor/(?:[\w/]+\.py|py\.typed|(?:report/html|serve)/templates/[\w.]+\.(?:j2|css|js)"
    r"|pretrained/(?:pitches/|sound/)?(?:[\w.-]+-[0-9a-f]{8}\.safetensors|CARD\.md)|calibrated/[\w.-]+\.json)"
    r"|beetsplug/audit\.py"
    r"|auditor-[\w.]+\.dist-info/(?:METADATA|WHEEL|RECORD|entry_points\.txt|licenses/LICENSE)"
)
"""Everything a wheel may hold; corpora, tests, keys and caches match none of it."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel without network: the build backend is one of the development tools."""
    folder = tmp_path_factory.mktemp("wheel")
    command = "pip wheel --quiet --no-deps --no-build-isolation --no-index --no-cache-dir".split()
    done = subprocess.run(
        [sys.executable, "-m", *command, "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def sizes(wheel) -> dict[str, int]:
    """Return the size of every file of the wheel, in bytes."""
    with zipfile.ZipFile(wheel) as file:
        return {member.filename: member.file_size for member in file.infolist()}


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    """Unpack the wheel far from the repository."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return folder


def run_unpacked(unpacked: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=unpacked,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_holds_nothing_but_the_package(sizes):
    assert [name for name in sizes if not ALLOWED.fullmatch(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "tests/end_to_end/test_cli.py",
        "corpus/train/a.ogg",
        "auditor/id_rsa",
        "auditor/.env",
        "auditor/pretrained/checkpoint.safetensors",
        "auditor/__pycache__/cli.cpython-311.pyc",
        "auditor/calibrated/notes.txt",
    ],
)
def test_what_a_wheel_must_not_hold_is_found_out(name):
    assert not ALLOWED.fullmatch(name)


def test_wheel_holds_every_module_and_template(sizes):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "templates/*", "py.typed")
        for path in (ROOT / "auditor").rglob(pattern)
    }
    assert len(wanted) > 40
    assert {Path(name).suffix for name in wanted} >= {".py", ".j2", ".css", ".js", ".typed"}
    assert wanted - sizes.keys() == set()
    assert [name for name in sizes if name.startswith("beetsplug/")] == ["beetsplug/audit.py"]


def test_wheel_holds_weights_that_match_their_names(wheel, sizes):
    weights = [name for name in sizes if name.endswith(".safetensors")]
    assert any(name.startswith("auditor/pretrained/track-") for name in weights)
    assert sum(sizes[name] for name in weights) <= MAX_WEIGHTS_BYTES
    with zipfile.ZipFile(wheel) as file:
        for name in weights:
            digest = hashlib.sha256(file.read(name)).hexdigest()
            assert name.endswith(f"-{digest[:8]}.safetensors")
        assert file.read("auditor/pretrained/CARD.md").strip()


def test_wheel_holds_every_threshold(wheel, sizes):
    ours = {path.name: path.read_bytes() for path in (ROOT / "thresholds").glob("*.json")}
    shipped = {name for name in sizes if name.startswith("auditor/calibrated/")}
    assert shipped
    assert shipped == {f"auditor/calibrated/{name}" for name in ours}
    with zipfile.ZipFile(wheel) as file:
        for name, content in ours.items():
            assert file.read(f"auditor/calibrated/{name}") == content


def test_metadata_names_the_version_the_python_and_the_command(wheel):
    with zipfile.ZipFile(wheel) as file:
        info = f"auditor-{auditor.__version__}.dist-info"
        metadata = file.read(f"{info}/METADATA").decode()
        entry_points = file.read(f"{info}/entry_points.txt").decode()
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    for name in ("onnx", "onnxruntime", "av", "numpy"):
        assert re.search(rf"^Requires-Dist: {name}>=[\d.]+$", metadata, re.MULTILINE), name
    assert not re.search(r"^Requires-Dist: torch[^;]*$", metadata, re.MULTILINE)  # an extra
    assert "audit = auditor.__main__:main" in entry_points


FIXED_IN = {
    "av": "16",  # FFmpeg 8
    "filelock": "3.20.3",  # CVE-2025-68146, CVE-2026-22701
    "jinja2": "3.1.6",  # CVE-2024-22195, -34064, -56201, -56326, CVE-2025-27516
    "numpy": "1.22",  # CVE-2021-41495, CVE-2021-41496
    "onnx": "1.21",  # CVE-2024-27318, CVE-2024-5187, CVE-2026-27489, CVE-2026-34446, CVE-2026-34447
    "playwright": "1.56",  # CVE-2025-59288
    "pyarrow": "23.0.1",  # CVE-2023-47248, CVE-2026-25087
    "pytest": "9.0.3",  # CVE-2025-71176
    "ray": "2.54",  # CVE-2025-1979, CVE-2025-62593, CVE-2026-27482
    "scikit-learn": "1.5",  # CVE-2024-5206
    "scipy": "1.10",  # CVE-2023-25399, CVE-2023-29824
    "torch": "2.8",  # CVE-2024-5480, CVE-2025-32434, CVE-2025-2953, CVE-2025-3730
}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_no_release_with_a_known_hole_is_admitted():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    lowest = dict(re.split(r"(?:\[.*\])?>=", line) for lines in wanted for line in lines)
    for name, fixed in FIXED_IN.items():
        assert numbers(lowest[name]) >= numbers(fixed), name


def test_every_dependency_is_pinned_once():
    pins = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    entries = [entry for one in lists for entry in one]
    named = [re.match(r"([\w-]+)(?:\[[\w,]+\])?>=", entry)[1] for entry in entries]
    assert len(lists) == 21
    assert sorted(pins) == sorted(set(named))


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--compiler"], 1, r"missing: there is no C\+\+ compiler.*apt-get install .*g\+\+"),
        (["--packages"], 0, r"g\+\+"),
        ([], 0, r"\A\Z"),
    ],
)
def test_preflight_asks_for_a_compiler_only_where_annoy_is_built(options, code, said, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "preflight.py"), *options],
        env={**os.environ, "PATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert re.search(said, done.stdout, re.DOTALL)


def test_wheel_works_away_from_its_source(unpacked):
    program = """
from pathlib import Path
import auditor
from auditor.embedding.extractor import PRETRAINED, load_extractor
from auditor.calibration.choose import RunThreshold
from auditor.calibration.thresholds import shipped_directory
here = Path.cwd()
assert Path(auditor.__file__).is_relative_to(here), auditor.__file__
assert PRETRAINED.is_relative_to(here) and shipped_directory().is_relative_to(here)
extractor = load_extractor()
use = RunThreshold(extractor.weights_id, [shipped_directory()], scorer="cosine/1").choose()
print(extractor.name, use.threshold, use.far_high)
"""
    done = run_unpacked(unpacked, "-c", program)
    assert done.returncode == 0, done.stderr
    name, threshold, far_high = done.stdout.split()
    assert name == DEFAULT_EXTRACTOR
    assert -1.0 < float(threshold) <= 1.0
    assert 0.0 < float(far_high) < 1.0


def test_command_line_of_the_wheel_answers(unpacked):
    done = run_unpacked(unpacked, "-m", "auditor.cli", "--version")
    assert (done.returncode, done.stdout) == (0, f"audit {auditor.__version__}\n")


def test_sdist_holds_what_the_wheel_is_built_from(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt"} <= names
    assert any(name.startswith("thresholds/") for name in names)
    assert any(name.startswith("auditor/pretrained/") for name in names)
    tops = {name.partition("/")[0] for name in names}
    assert not tops & {"corpus", "runs", "demo", "reports", ".venv", ".git"}


def docker_stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage of the Dockerfile, continuations joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


def test_the_image_is_given_what_it_copies_and_nothing_else():
    copied = {
        source.rstrip("/")
        for word, rest in docker_stages()[0]
        if word == "COPY"
        for source in rest.split()[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {project["project"]["readme"], *project["project"]["license-files"]}
    wanted |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"])
    assert wanted | {"auditor", "beetsplug", "pyproject.toml", "constraints.txt"} == copied


def test_the_image_runs_audit_as_a_user_without_rights():
    build, image = docker_stages()
    assert build[0][1].split()[0] == image[0][1].split()[0], "one Python in both stages"
    assert [rest for word, rest in image if word == "USER"] == ["10001"]
    assert ("ENTRYPOINT", '["audit"]') in image
    assert not any("pip" in rest for word, rest in image if word == "RUN")
