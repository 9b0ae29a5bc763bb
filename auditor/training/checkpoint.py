"""The folder of a training run: its checkpoint, its loss curve and its lock.

::

    <run>/checkpoint.safetensors    weights, loss, optimiser, best weights so far; see TrainingState
    <run>/curve.csv                 one row for each validation
    <run>/lock                      held by the one process that trains

The checkpoint's metadata say which run it belongs to: ``identity``, the configurations as JSON, and
``data``, the SHA-256 of all it hears of its music, which older checkpoints lack.  Safetensors, JSON
and CSV, never pickle.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError

from auditor.embedding.extractor import pack_tensors, unpack_tensors
from auditor.embedding.network import Network
from auditor.errors import UsageError, WeightsError, show_path
from auditor.serialisation import atomic_write, parse_json
from auditor.training.loss import GE2ELoss

CHECKPOINT = "checkpoint.safetensors"
CURVE = "curve.csv"
CURVE_COLUMNS = ("step", "loss", "learning_rate", "scale", "eer", "recall_at_far_1e-3", "seconds")
LOCK = "lock"


@dataclass
class TrainingStatus:
    """How far a run has come.

    Attributes
    ----------
    step : int
        Batches done.
    best_eer : float
        Lowest EER of a validation; infinite before the first one.
    best_step : int
        Step of that validation.
    stale : int
        Validations since then.
    seconds : float
        Time spent up to the last validation, in seconds, over all resumed runs.
    """

    step: int = 0
    best_eer: float = math.inf
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0


@dataclass
class TrainingState:
    """Everything that a step of training changes, and that a resumed run needs.

    Attributes
    ----------
    network : Network
    loss : GE2ELoss
    optimiser : torch.optim.Optimizer
        Of the parameters of both.
    status : TrainingStatus
    best : dict of str to torch.Tensor
        ``state_dict`` of the network at its best validation; empty before the first one.
    """

    network: Network
    loss: GE2ELoss
    optimiser: torch.optim.Optimizer
    status: TrainingStatus = field(default_factory=TrainingStatus)
    best: dict[str, torch.Tensor] = field(default_factory=dict)


@contextlib.contextmanager
def lock_run(directory: Path) -> Iterator[None]:
    """Hold the lock of a run's folder; the operating system frees it if the process dies.

    Parameters
    ----------
    directory : pathlib.Path
        Created if absent.

    Raises
    ------
    UsageError
        If another process holds it, or the folder cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / LOCK)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(
            f"{show_path(directory)} is in use by another training run. Wait for it to end, or "
            "give another --name."
        ) from None
    except OSError as error:
        raise UsageError(
            f"{show_path(directory)} cannot take a training run: {error.strerror}. "
            "Give another --output."
        ) from None
    try:
        yield
    finally:
        lock.release()


def save_checkpoint(path: Path, state: TrainingState, *, identity: str, data: str = "") -> None:
    """Write everything a resumed run needs, in one file that replaces the last one.

    Parameters
    ----------
    path : pathlib.Path
    state : TrainingState
    identity : str
        Of the run's settings; a run with other ones may not resume from here.
    data : str
        SHA-256 of the music, see ``training_set.music_sha256``; left out if empty.
    """
    tensors = {f"model.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"loss.{k}": v for k, v in state.loss.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in state.best.items()}
    for i, entry in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": v for k, v in entry.items()}
    header = {"identity": identity, "state": json.dumps(dataclasses.asdict(state.status))}
    if data:
        header["data"] = data
    arrays = {k: v.detach().cpu().numpy() for k, v in tensors.items()}
    atomic_write(path, pack_tensors(arrays, header))


def load_checkpoint(path: Path, state: TrainingState, *, identity: str, data: str = "") -> None:
    """Restore what ``save_checkpoint`` wrote into a freshly made state.

    Parameters
    ----------
    path : pathlib.Path
    state : TrainingState
        Changed in place; of no use after an error.
    identity, data : str
        Those of the run that resumes; ``data`` is compared if the checkpoint names its music.

    Raises
    ------
    WeightsError
        If the file is damaged or belongs to a run with other settings or on other music.
    """
    try:
        arrays, header = unpack_tensors(path.read_bytes())
        if header["identity"] != identity:
            raise WeightsError(
                f"{show_path(path)} belongs to a run with other settings. Give the same ones to "
                "resume, or another --output to start over."
            )
        if header.get("data", data) != data:
            raise WeightsError(
                f"{show_path(path)} belongs to a run on other music (SHA-256 "
                f"{header['data'][:8]!r}, here {data[:8]!r}). Give the same folders to resume, or "
                "another --output to start over."
            )
        saved = parse_json(header["state"])
        tensors = {k: torch.from_numpy(v.copy()) for k, v in arrays.items()}  # to be written to
        part = {
            kind: {
                k.removeprefix(f"{kind}."): v
                for k, v in tensors.items()
                if k.startswith(f"{kind}.")
            }
            for kind in ("model", "loss", "best", "optimiser")
        }
        state.network.load_state_dict(part["best"])  # sees to it that they fit
        state.network.load_state_dict(part["model"])
        state.loss.load_state_dict(part["loss"])
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in part["optimiser"].items():
            i, _, name = key.partition(".")
            entries.setdefault(int(i), {})[name] = value
        groups = state.optimiser.state_dict()["param_groups"]
        state.optimiser.load_state_dict({"state": entries, "param_groups": groups})
        fresh = dataclasses.asdict(TrainingStatus())
        state.status = TrainingStatus(**{k: type(v)(saved[k]) for k, v in fresh.items()})
        state.best = part["best"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(" .")  # torch's messages have several lines
        raise WeightsError(
            f"{show_path(path)} is damaged: {reason}. Delete it to restart the run."
        ) from None


def read_curve(path: Path, *, upto: int) -> list[dict[str, float]]:
    """Return the rows of the loss curve up to a step; none if there is no file.

    Raises
    ------
    WeightsError
        If the file is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        rows = [{k: float(row[k]) for k in CURVE_COLUMNS} for row in table]
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise WeightsError(
            f"{show_path(path)} is damaged: {error}. Delete it; the run goes on without it."
        ) from None
    return [{**row, "step": int(row["step"])} for row in rows if row["step"] <= upto]


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the loss curve, replacing the file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CURVE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, text.getvalue().encode())
