"""``diagnose``: whether an installation and a workspace are sound, and what to do if not.

Each part is tried rather than asked about: a generated second of music is encoded, decoded in
another process and embedded; files are written to the workspace and the temporary folder.  Nothing
is kept and nothing is changed.  A part that fails in an unforeseen way is a problem like any other.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import auditor
from auditor.audio.credentials import DISTRIBUTION, can_be_read
from auditor.calibration.thresholds import find_thresholds, shipped_directory
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.database import MIGRATIONS
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.errors import AuditError, IndexFileError, show_path
from auditor.ingest.embedders import GPU_FILES
from auditor.records import SCHEMA_VERSION
from auditor.scoring.base import scorer_of
from auditor.serialisation import TemporaryFolder
from auditor.workspace import lock_holder, workspace_directory

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor

LIBRARIES = ("numpy", "scipy", "scikit-learn", "onnx", "onnxruntime", "av")
"""Distributions that most of the work is done by; each is imported."""

BACKENDS = {"annoy": "annoy", "faiss": "faiss-cpu", "usearch": "usearch"}
"""Module and distribution of what may build an excerpt index."""

CODECS = ("mp3", "flac", "aac", "opus")
TONE_HZ = 440.0

LEAST_FREE_BYTES: Final = 100_000_000
"""Free space below which a scan is likely to fail."""

LITTLE_FREE_BYTES: Final = 1_000_000_000
"""Free space that a large scan may use up."""

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux says what processor time a container has."""

_MODULES = {"scikit-learn": "sklearn"}
_REINSTALL = "Install audit again: its README has the command"


class State(StrEnum):
    """How a part is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What was found of one part.

    Attributes
    ----------
    part : str
        Of the installation, the machine or the workspace.
    state : State
        A note costs time or space; a problem makes some command fail.
    text : str
        What was found.
    remedy : str
        What to do; empty where nothing is to be done.
    """

    part: str
    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """Result of audit doctor.

    Attributes
    ----------
    kind, schema_version
        Which layout this is.
    version : str
        Of audit.
    findings : tuple of Finding
        In a fixed order of parts.
    """

    version: str
    findings: tuple[Finding, ...]
    kind: Literal["doctor"] = "doctor"
    schema_version: int = SCHEMA_VERSION

    def count(self, state: State) -> int:
        """Return how many findings are of a state."""
        return sum(finding.state is state for finding in self.findings)


def diagnose(
    directory: str | os.PathLike[str] | None = None,
    *,
    extractor: str | os.PathLike[str] = DEFAULT_EXTRACTOR,
) -> Diagnosis:
    """Examine the installation, the machine and a workspace.

    Parameters
    ----------
    directory : path, optional
        Of the workspace, see ``workspace.workspace_directory``; it need not exist.
    extractor : str or path
        Name of a pretrained extractor or a weights file.

    Returns
    -------
    Diagnosis
        Several findings may be of one part.

    Examples
    --------
    >>> for finding in diagnose(".audit").findings:  # doctest: +SKIP
    ...     print(finding.state, finding.part, finding.text)
    """
    folder = workspace_directory(directory)
    loaded: list[Extractor] = []
    parts: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _python),
        ("audit", _audit),
        ("libraries", _libraries),
        ("decoder", _decoder),
        ("weights", lambda: _weights(extractor, loaded)),
        ("threshold", lambda: _threshold(folder, loaded)),
        ("index", _backends),
        ("c2pa", _credentials),
        ("threads", _threads),
        ("gpu", _gpu),
        ("workspace", lambda: _workspace(folder)),
        ("catalogue", lambda: _catalogue(folder, loaded)),
        ("space", lambda: _space(folder)),
        ("temporary", _temporary),
    )
    findings = [finding for name, examine in parts for finding in _guarded(name, examine)]
    return Diagnosis(auditor.__version__, tuple(findings))


def _guarded(name: str, examine: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Return what a part found; an exception is a finding, too."""
    found: list[Finding] = []
    try:
        found.extend(examine())
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        remedy = (
            "" if isinstance(error, AuditError) else f"{_REINSTALL}; if that is no help, report it"
        )
        found.append(Finding(name, State.PROBLEM, show_path(text), remedy))
    return found


def _python() -> Iterator[Finding]:
    text = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if sys.maxsize < 2**32:
        yield Finding("python", State.PROBLEM, f"{text}, 32 bit", "Install a Python of 64 bit")
    else:
        yield Finding("python", State.OK, text)


def _audit() -> Iterator[Finding]:
    where = show_path(Path(auditor.__file__).parent)
    yield Finding("audit", State.OK, f"{auditor.__version__} in {where}")


def _libraries() -> Iterator[Finding]:
    needed = _needed()
    for name in LIBRARIES:
        try:
            importlib.import_module(_MODULES.get(name, name))
            version = importlib.metadata.version(name)
        except Exception as error:  # a library that lacks another one raises OSError, and more
            text = (
                f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            )
            yield Finding(name, State.PROBLEM, text, _REINSTALL)
            continue
        least = needed.get(name, "")
        if _numbers(version) < _numbers(least):
            text = f"{version}; {least} or later is needed"
            yield Finding(name, State.PROBLEM, text, f"Run: pip install '{name}>={least}'")
        elif name == "av":
            import av

            yield Finding(name, State.OK, f"{version}, FFmpeg {av.ffmpeg_version_info}")
        else:
            yield Finding(name, State.OK, version)


def _needed() -> dict[str, str]:
    """Return the oldest version that audit accepts of each distribution, as installed."""
    try:
        lines = importlib.metadata.requires("auditor") or ()
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return {}
    found = (re.fullmatch(r"([\w-]+)>=([\d.]+)", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def _decoder() -> Iterator[Finding]:
    """Encode a tone in each format, decode it in another process, and look for the tone."""
    import numpy as np

    from auditor.audio import SAMPLE_RATE_HZ
    from auditor.audio.encode import encode
    from auditor.audio.isolated import load_waveform

    turns = np.exp(2j * np.pi * TONE_HZ * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    good: list[str] = []
    with TemporaryFolder() as folder:
        for codec in CODECS:
            path = Path(folder, f"tone.{codec}")
            try:
                path.write_bytes(encode(0.5 * turns.imag.astype(np.float32), codec=codec))
                heard = load_waveform(path)[:SAMPLE_RATE_HZ]
            except (AuditError, OSError, ValueError) as error:
                text = f"{codec.upper()}: {' '.join(str(error).split())[:300]}"
                yield Finding("decoder", State.PROBLEM, show_path(text), _REINSTALL)
                continue
            level = 2 * abs(np.dot(heard, turns[: len(heard)])) / max(1, len(heard))
            if len(heard) < 0.9 * SAMPLE_RATE_HZ or not 0.4 < level < 0.6:
                text = (
                    f"{codec.upper()}: a second of a tone of level 0.5 is decoded into "
                    f"{len(heard) / SAMPLE_RATE_HZ:.2f} s of level {level:.2f}"
                )
                yield Finding("decoder", State.PROBLEM, text, _REINSTALL)
                continue
            good.append(codec.upper())
    if good:
        yield Finding("decoder", State.OK, f"decodes {', '.join(good)} in a process of its own")


def _weights(extractor: str | os.PathLike[str], loaded: list[Extractor]) -> Iterator[Finding]:
    import numpy as np

    from auditor.audio import SAMPLE_RATE_HZ
    from auditor.embedding.embed import embed_waveform
    from auditor.embedding.extractor import find_weights, load_extractor

    try:
        path = find_weights(extractor)
        model = load_extractor(path)
    except AuditError as error:
        remedy = _REINSTALL if extractor == DEFAULT_EXTRACTOR else ""  # the message has its own
        yield Finding("weights", State.PROBLEM, str(error), remedy)
        return
    loaded.append(model)
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * SAMPLE_RATE_HZ).astype(np.float32)
    started = time.perf_counter()
    embedded = embed_waveform(noise, [model])
    took = time.perf_counter() - started
    norm = float(np.linalg.norm(next(iter(embedded.values())).embedding))
    if not abs(norm - 1.0) < 1e-3:
        text = f"{path.name} gives an embedding of norm {norm:.3g} in place of 1"
        yield Finding("weights", State.PROBLEM, text, _REINSTALL)
        return
    yield Finding(
        "weights",
        State.OK,
        f"{show_path(path.name)}, weights {model.weights_id}, embeds 10 s in {took:.2f} s",
    )


def _threshold(folder: Path, loaded: list[Extractor]) -> Iterator[Finding]:
    for model in loaded:
        scorer = scorer_of(model).id
        damaged: list[Path] = []
        folders = (folder / "thresholds", shipped_directory())
        found = find_thresholds(model.weights_id, folders, scorer=scorer, damaged=damaged)
        for path in damaged:
            remedy = "Delete it, and run: audit calibrate"
            text = f"{show_path(path)} is damaged or was counted with another version"
            yield Finding("threshold", State.PROBLEM, text, remedy)
        if found is None:
            text = f"no calibration of weights {model.weights_id}"
            remedy = "Run: audit calibrate, or give scan and check a --threshold"
            yield Finding("threshold", State.NOTE, text, remedy)
        else:
            yield Finding("threshold", State.OK, show_path(found[1].name))


def _backends() -> Iterator[Finding]:
    for module, name in BACKENDS.items():
        try:
            importlib.import_module(module)
            yield Finding(module, State.OK, importlib.metadata.version(name))
        except Exception as error:
            broken = not isinstance(error, ModuleNotFoundError)
            said = f"installed, but not usable: {error}" if broken else "not installed"
            if module == "annoy":
                text = f"{said}: NumPy builds and reads the same index, more slowly"
                remedy = "To be faster, with a C++ compiler: pip install 'auditor[annoy]'"
                yield Finding(module, State.NOTE, text, remedy)
            else:
                yield Finding(module, State.NOTE if broken else State.OK, f"{said} (optional)")


def _credentials() -> Iterator[Finding]:
    if not can_be_read():
        text = "not installed: C2PA manifests of files are not read (optional)"
        yield Finding("c2pa", State.OK, text)
        return
    try:
        importlib.import_module("c2pa")
    except Exception as error:  # it loads a library of its own
        text = f"installed, but not usable: {' '.join(str(error).split())[:200]}"
        yield Finding("c2pa", State.NOTE, text, "Run: pip install --force-reinstall c2pa-python")
    else:
        text = f"{importlib.metadata.version(DISTRIBUTION)}, manifests are read without network"
        yield Finding("c2pa", State.OK, text)


def _threads() -> Iterator[Finding]:
    n_cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else n_cores
    text = f"{usable} of {n_cores} cores, so {usable} processes of one thread"
    allowed = _quota()
    if allowed is not None and allowed < usable:
        text = f"{usable} cores, of which the container may use {allowed:.3g}"
        remedy = f"Give scan and check --jobs {max(1, int(allowed))}"
        yield Finding("threads", State.NOTE, text, remedy)
    else:
        yield Finding("threads", State.OK, text)


def _quota() -> float | None:
    """Return the cores that Linux lets this process's group use; None where there is no limit."""
    try:
        limit, period = CPU_LIMIT.read_text(encoding="ascii").split()
        return float(limit) / float(period)  # "max" is no limit
    except (OSError, ValueError):
        return None


def _gpu() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        text = "torch is not installed; only audit train, bfloat16 and a GPU need it"
        if any(map(os.path.exists, GPU_FILES)):
            remedy = "To use the GPU that is there: pip install 'auditor[train]'"
            yield Finding("gpu", State.NOTE, text, remedy)
        else:
            yield Finding("gpu", State.OK, f"{text} (optional)")
        return
    import torch

    built = torch.version.cuda
    if torch.cuda.is_available():
        text = f"{torch.cuda.get_device_name(0)}, torch {torch.__version__} for CUDA {built}"
        yield Finding("gpu", State.OK, text)
    elif built is None:
        yield Finding("gpu", State.OK, f"torch {torch.__version__}, a CPU build")
    else:
        text = f"torch is built for CUDA {built}, and there is no GPU that it can use"
        remedy = "The CPU is used. A CPU build of torch saves several GB: see the README"
        yield Finding("gpu", State.NOTE, text, remedy)


def _workspace(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        text = f"{show_path(folder)} does not exist yet"
        yield Finding("workspace", State.NOTE, text, "audit scan DIR makes it")
        return
    remedy = "Fix that, or give another --workspace; commands that only read work"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        text = f"{show_path(folder)} cannot be written: {error.strerror}"
        yield Finding("workspace", State.PROBLEM, text, remedy)
    else:
        yield Finding("workspace", State.OK, f"{show_path(folder)} can be written")
    holder = lock_holder(folder)
    if holder:
        remedy = "Wait for it to end; reading commands work meanwhile"
        yield Finding("lock", State.NOTE, f"held by {holder}", remedy)


def _catalogue(folder: Path, loaded: list[Extractor]) -> Iterator[Finding]:
    path = folder / "catalogue.sqlite3"
    if not path.exists():
        if folder.exists():
            yield Finding("catalogue", State.NOTE, "none yet", "audit scan DIR makes it")
        return
    try:
        with Catalogue.open(path, read_only=True) as catalogue:
            facts = catalogue.stats()
            text = f"{facts['n_tracks']:,} tracks, {facts['hours']:.1f} h, schema {len(MIGRATIONS)}"
            if facts["n_skipped"]:
                text += f"; {facts['n_skipped']:,} files skipped"
            yield Finding("catalogue", State.OK, text)
            if facts["n_missing"]:
                text = f"tracks whose file is missing: {facts['n_missing']:,}"
                remedy = "audit catalogue verify names them"
                yield Finding("catalogue", State.NOTE, text, remedy)
            embedded = facts["by_weights"]
            for model in loaded:
                if embedded and model.weights_id not in embedded:
                    text = f"no track is embedded by weights {model.weights_id}"
                    text += f", but by {', '.join(sorted(embedded))}"
                    remedy = "Give --extractor, or let audit scan embed all tracks again"
                    yield Finding("catalogue", State.NOTE, text, remedy)
            for weights_id in sorted(embedded):
                yield from _indexes(catalogue, folder / "index", weights_id)
    except AuditError as error:
        yield Finding("catalogue", State.PROBLEM, str(error))


def _indexes(catalogue: Catalogue, folder: Path, weights_id: str) -> Iterator[Finding]:
    from auditor.search.annoy_index import open_index
    from auditor.search.excerpts.index import ExcerptIndex, ExcerptSource, read_shards

    part, later = f"index {weights_id}", "audit scan builds it again"
    source = ExcerptSource.of(catalogue, weights_id)
    shards, damaged = read_shards(folder / "excerpts", source)
    for error in damaged.values():
        yield Finding(part, State.PROBLEM, str(error))
    if not shards and not damaged:
        yield Finding(part, State.OK, "no excerpt index yet; audit scan builds it")
    elif shards:
        index = ExcerptIndex(shards, source, hop_s=1.0)  # the hop is for offsets, not asked for
        backends = ", ".join(sorted({shard.sidecar.config.backend for shard in shards}))
        n_rows = sum(shard.sidecar.n_items for shard in shards)
        n = len(shards)
        text = f"excerpts: {n_rows:,} windows, {n} {'shard' if n == 1 else 'shards'} of {backends}"
        n_left = len(index.uncovered)
        if n_left:
            text += f"; tracks that are not in it: {n_left:,}"
            yield Finding(part, State.NOTE, text, "audit scan adds them")
        else:
            yield Finding(part, State.OK, text)
    ids, embeddings = catalogue.embeddings(weights_id)
    try:
        tracks = open_index(folder, weights_id, ids, embeddings)
    except FileNotFoundError:
        return
    except IndexFileError as error:
        yield Finding(part, State.PROBLEM, str(error), later if "Delete" not in str(error) else "")
        return
    text = f"tracks: {len(tracks):,}, of which {tracks.n_overlay:,} are searched without the index"
    yield Finding(part, State.OK, text)


def _space(folder: Path) -> Iterator[Finding]:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    yield _free("space", existing, "Free some space, or give another --workspace")


def _temporary() -> Iterator[Finding]:
    wanted = os.environ.get("TMPDIR")
    try:
        folder = Path(tempfile.gettempdir())
        with tempfile.TemporaryFile() as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        text = f"no temporary folder can be written: {error.strerror or error}"
        yield Finding("temporary", State.PROBLEM, text, "Set TMPDIR to a folder that can")
        return
    if wanted and Path(wanted).absolute() != folder.absolute():
        text = f"TMPDIR is {show_path(wanted)}, which cannot be used; {show_path(folder)} is"
        yield Finding("TMPDIR", State.NOTE, text, "Set TMPDIR to a folder that can be written")
    yield _free("temporary", folder, "Free some space, or set TMPDIR to another folder")


def _free(part: str, folder: Path, remedy: str) -> Finding:
    free = shutil.disk_usage(folder).free
    size = f"{free / 1e9:,.1f} GB" if free >= LEAST_FREE_BYTES else f"{free / 1e6:,.0f} MB"
    text = f"{size} free in {show_path(folder)}"
    if free < LEAST_FREE_BYTES:
        return Finding(part, State.PROBLEM, text, remedy)
    if free < LITTLE_FREE_BYTES:
        return Finding(part, State.NOTE, text, f"A large scan may need more. {remedy}")
    return Finding(part, State.OK, text)
