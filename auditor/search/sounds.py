"""What is kept of tracks for recommendations: one vector for each content.

The vectors are derived from the stored d-vectors and spectra, so they lie beside the catalogue and
not in it: ``sounds/<model>-<weights_id>.safetensors``.  The file is replaced in one step by whoever
may write; a damaged one counts as absent and is made again.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from auditor.serialisation import (
    atomic_write,
    read_bytes,
    tensors_metadata,
    with_sorted_header,
)

FORMAT = "audit-sounds-1"
MAX_BYTES = 1 << 32
_NORM_TOLERANCE = 1e-3


def sounds_path(folder: Path, model: str, weights_id: str) -> Path:
    """Return the file of a model and the weights of the d-vectors in a workspace's folder."""
    return folder / "sounds" / f"{model}-{weights_id}.safetensors"


def read_sounds(path: Path, n_dims: int) -> dict[str, np.ndarray]:
    """Return the vectors of a file by the SHA-256 of the content, (n_dims,) float32, unit norm.

    Nothing is returned of a file that is missing, damaged or of other dimensions.
    """
    with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, RecursionError):
        data = read_bytes(path, MAX_BYTES)
        tensors = load(data)
        header = tensors_metadata(data)
        hashes, vectors = tensors["sha256"], tensors["vectors"]
        if (
            header.get("format") == FORMAT
            and header.get("crc") == str(zlib.crc32(hashes.tobytes() + vectors.tobytes()))
            and hashes.dtype == np.uint8
            and vectors.dtype == np.float32
            and hashes.shape == (len(vectors), 32)
            and vectors.shape[1:] == (n_dims,)
            and bool((np.abs(np.linalg.norm(vectors, axis=1) - 1.0) <= _NORM_TOLERANCE).all())
        ):
            names = (bytes(row).hex() for row in hashes)
            return dict(zip(names, vectors, strict=True))
    return {}


def write_sounds(path: Path, vectors: Mapping[str, np.ndarray]) -> bool:
    """Write the vectors of contents, in place of the file; return whether that was possible."""
    names = sorted(vectors)
    hashes = np.frombuffer(bytes.fromhex("".join(names)), np.uint8).reshape(-1, 32)
    rows = np.stack([vectors[name] for name in names]).astype(np.float32)
    crc = str(zlib.crc32(hashes.tobytes() + rows.tobytes()))
    tensors: dict[str, np.ndarray] = {"sha256": hashes, "vectors": rows}
    data = with_sorted_header(save(tensors, metadata={"format": FORMAT, "crc": crc}))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
        return True
    return False
