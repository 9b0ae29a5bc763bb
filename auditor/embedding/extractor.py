"""The GE2E d-vector extractor: its weights on disk, and the network that they make.

Strided convolutions (optional) halve bands and frames, an LSTM reads the frames, and its last
output, or the mean of its outputs, is projected and brought to unit length.  With
``conv_channels=()``, three LSTM layers of 768 and ``pooling="last"`` it is the paper's network.
onnxruntime runs it (``onnx_graph``); bfloat16, a GPU and training need torch (``network``).

Weights are safetensors files whose header carries the whole config and the training summary, and
whose name carries the first 8 hex digits of their SHA-256.

References
----------
Wan, Wang, Papir, Moreno (2018), arXiv:1710.10467, section 2.1 and equation 4.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from auditor.embedding.config import DEFAULT_EXTRACTOR, PRECISIONS, ExtractorConfig
from auditor.errors import WeightsError, show_path
from auditor.serialisation import (
    from_json,
    parse_json,
    tensors_metadata,
    to_json,
    with_sorted_header,
    write_weights,
)

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""Folder of the weights that ship with the package."""

MAX_WEIGHTS_BYTES = 1 << 30
FORMAT = "audit-extractor/1"
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.safetensors$")


@dataclass(frozen=True, eq=False)
class ExtractorWeights:
    """What a weights file says.

    Attributes
    ----------
    config : ExtractorConfig
    tensors : mapping of str to numpy.ndarray
        float32, named and shaped as ``tensor_shapes`` has them.
    weights_id : str
        First 8 hex digits of the SHA-256 of the file; empty for weights that are in none.
    path : pathlib.Path or None
    name : str
        Stem of the file without the hash, for example ``track``.
    summary : dict
        What the training run wrote into the header.
    """

    config: ExtractorConfig
    tensors: Mapping[str, np.ndarray] = field(repr=False)
    weights_id: str = ""
    path: Path | None = None
    name: str = "untrained"
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Extractor:
    """Windows in, d-vectors out.

    It can be pickled; where it is unpickled, it runs on the CPU.

    Attributes
    ----------
    weights : ExtractorWeights
    run : callable
        From windows (n, window_frames, n_bands) to d-vectors (n, n_dims), both float32.
    precision : str
        Its arithmetic, one of ``embedding.config.PRECISIONS``.
    """

    weights: ExtractorWeights
    run: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    precision: str = PRECISIONS[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out the network, which is made of the weights again."""
        return make_extractor, (self.weights, self.precision)

    def __call__(self, windows: np.ndarray) -> np.ndarray:
        """Return one d-vector for each window.

        Parameters
        ----------
        windows : numpy.ndarray
            (n, window_frames, n_bands) float32, normalised by ``frames.normalise_windows``.

        Returns
        -------
        numpy.ndarray
            (n, n_dims) float32, unit norm.
        """
        return self.run(windows)

    @property
    def config(self) -> ExtractorConfig:
        """Shape of the network and layout of its input."""
        return self.weights.config

    @property
    def weights_id(self) -> str:
        """Id of the weights; with bfloat16, that word behind it: such d-vectors are kept apart."""
        suffix = "" if self.precision == PRECISIONS[0] else self.precision
        return self.weights.weights_id + suffix

    @property
    def path(self) -> Path | None:
        """The file it was loaded from."""
        return self.weights.path

    @property
    def name(self) -> str:
        """See ``ExtractorWeights``."""
        return self.weights.name

    @property
    def summary(self) -> dict[str, Any]:
        """See ``ExtractorWeights``."""
        return self.weights.summary

    def on_gpu(self) -> Extractor:
        """Return the extractor with its network on the GPU.

        Raises
        ------
        UsageError
            If torch is not installed.
        """
        from auditor.embedding.network import run_by_torch

        return dataclasses.replace(self, run=run_by_torch(self.weights, self.precision, "cuda"))


def tensor_shapes(config: ExtractorConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a weights file, by its name."""
    shapes: dict[str, tuple[int, ...]] = {}
    n_in, n_bands = 1, config.features.n_bands
    for i, n_out in enumerate(config.conv_channels):
        size = kernel_size(i)
        shapes[f"convolutions.{3 * i}.weight"] = (n_out, n_in, size, size)
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"convolutions.{3 * i + 1}.{name}"] = (n_out,)
        n_in, n_bands = n_out, (n_bands + 1) // 2
    n_read, n_gates = n_in * n_bands, 4 * config.lstm_size
    for layer in range(config.lstm_layers):
        shapes[f"lstm.weight_ih_l{layer}"] = (n_gates, n_read)
        shapes[f"lstm.weight_hh_l{layer}"] = (n_gates, config.lstm_size)
        shapes[f"lstm.bias_ih_l{layer}"] = shapes[f"lstm.bias_hh_l{layer}"] = (n_gates,)
        n_read = config.lstm_size
    shapes["projection.weight"] = (config.n_dims, config.lstm_size)
    shapes["projection.bias"] = (config.n_dims,)
    return shapes


def kernel_size(i: int) -> int:
    """Return the side of the kernels of a convolution."""
    return 5 if i == 0 else 3


def run_by_onnx(weights: ExtractorWeights) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network of weights as a function from windows to d-vectors, float32.

    The normalisation is folded into the convolutions: half the time, equal but for rounding.
    """
    from auditor.embedding.onnx_graph import Graph, axes

    config, tensors, graph = weights.config, weights.tensors, Graph("extractor")
    x = graph.input("windows", ("n", config.window_frames, config.features.n_bands))
    if config.conv_channels:
        x = graph.add("Unsqueeze", x, axes(1))  # (n, 1, frames, bands)
        for i in range(len(config.conv_channels)):
            conv, norm = (f"convolutions.{3 * i + k}" for k in (0, 1))
            pads = [kernel_size(i) // 2] * 4
            x = graph.add_convolution(x, tensors, conv, norm, strides=[2, 2], pads=pads)
        x = graph.add("Transpose", x, perm=[2, 0, 1, 3])  # (frames', n, channels, bands')
        x = graph.add("Reshape", x, np.array([0, 0, -1], np.int64))
    else:
        x = graph.add("Transpose", x, perm=[1, 0, 2])  # (frames, n, bands)
    for layer in range(config.lstm_layers):
        from_input, from_state, bias_input, bias_state = (
            _onnx_gates(tensors[f"lstm.{name}_l{layer}"])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        bias = np.concatenate([bias_input, bias_state])
        size = config.lstm_size
        x = graph.add("LSTM", x, from_input[None], from_state[None], bias[None], hidden_size=size)
        x = graph.add("Squeeze", x, axes(1))  # (frames', n, lstm_size)
    if config.pooling == "last":
        x = graph.add("Gather", x, np.array(-1, np.int64), axis=0)
    else:
        x = graph.add("ReduceMean", x, axes(0), keepdims=0)
    projection = (tensors[f"projection.{name}"] for name in ("weight", "bias"))
    program = graph.program(graph.add_unit_vectors(x, *projection))

    def run(windows: np.ndarray) -> np.ndarray:
        if not len(windows):  # an LSTM of onnxruntime aborts the process
            return np.zeros((0, config.n_dims), np.float32)
        return program(windows)[0]

    return run


def _onnx_gates(values: np.ndarray) -> np.ndarray:
    """Return rows for the gates i, f, g, o of torch in the order of ONNX: i, o, f, c."""
    i, f, g, o = np.split(values, 4)
    return np.concatenate([i, o, f, g])


def save_weights(
    weights: ExtractorWeights,
    directory: str | os.PathLike[str],
    *,
    name: str,
    summary: dict[str, Any],
) -> Path:
    """Write weights as ``<directory>/<name>-<hash>.safetensors`` in float16.

    Parameters
    ----------
    weights : ExtractorWeights
        Its config and tensors are written.
    directory : path
        Created if absent.
    name : str
        For example ``track``.
    summary : dict
        JSON types only; goes into the header.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    WeightsError
        If a value is not finite in float16.
    """
    with np.errstate(over="ignore"):  # told below
        tensors = {k: v.astype(np.float16) for k, v in weights.tensors.items()}
    for key, value in tensors.items():
        if not np.isfinite(value).all():
            raise WeightsError(
                f"the tensor {key} holds values that are not finite in float16, whose largest is "
                "65,504. Train with another --seed, or with --precision float32."
            )
    header = {
        "format": FORMAT,
        "config": json.dumps(to_json(weights.config), sort_keys=True),
        "summary": json.dumps(summary, sort_keys=True),
    }
    return write_weights(Path(directory), name, pack_tensors(tensors, header))


def pack_tensors(tensors: Mapping[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file in memory, the same bytes for the same content."""
    data = save_tensors({k: np.asarray(v, order="C") for k, v in tensors.items()}, metadata)
    return with_sorted_header(data)


def unpack_tensors(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file in memory.

    Raises
    ------
    SafetensorError
        If it is none, or damaged.
    """
    try:
        tensors = load_tensors(data)  # checks the header before it is read again
    except KeyError as error:  # a type that NumPy lacks
        raise SafetensorError(f"it holds numbers of the type {error}") from None
    return tensors, tensors_metadata(data)


def trained_values(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what a network has learned, as float32.

    Raises
    ------
    ValueError
        If it holds what no training leaves behind.
    """
    with np.errstate(over="ignore"):  # told below
        values = {k: v.astype(np.float32) for k, v in tensors.items() if v.dtype.kind == "f"}
    for key in sorted(tensors):
        if key not in values:
            raise ValueError(f"{key} holds numbers of the type {tensors[key].dtype}")
        if not np.isfinite(values[key]).all():
            raise ValueError(f"{key} holds values that are not finite")
        if key.endswith("running_var") and (values[key] < 0).any():
            raise ValueError(f"{key} holds the negative variance {float(values[key].min()):g}")
    return values


def find_weights(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the weights file that a ``--extractor`` argument means.

    Parameters
    ----------
    name_or_path : str or path
        With a path separator or the suffix ``.safetensors`` it is a file.  Otherwise the name of a
        pretrained extractor comes before a file of that name in the current folder.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    WeightsError
        If it is neither a file nor the name of exactly one pretrained extractor.
    """
    given, path = os.fspath(name_or_path), Path(name_or_path)
    found = sorted(PRETRAINED.glob("*.safetensors"))
    names = [_HASH_IN_NAME.sub("", p.name).removesuffix(".safetensors") for p in found]
    if given in names:  # a name holds no separator and no suffix
        if names.count(given) > 1:
            raise WeightsError(
                f"{names.count(given)} pretrained extractors are named {given}. "
                "Give the path of one of them."
            )
        return found[names.index(given)]
    if path.is_file():
        return path
    raise WeightsError(
        f"no extractor {show_path(path)}: it is neither a weights file nor one of the pretrained "
        f"ones ({', '.join(names) or 'none is installed'}). Give a .safetensors file or a name."
    )


def load_extractor(
    name_or_path: str | os.PathLike[str] = DEFAULT_EXTRACTOR, *, precision: str = PRECISIONS[0]
) -> Extractor:
    """Load an extractor for inference.

    Parameters
    ----------
    name_or_path : str or path
        A ``.safetensors`` file, or the name of a pretrained extractor.
    precision : str
        One of ``embedding.config.PRECISIONS``.  bfloat16 needs torch.  Where the processor has
        instructions for it, it takes half the time; d-vectors differ by a cosine of some 1e-4
        (benchmarks/RESULTS.md).

    Returns
    -------
    Extractor

    Raises
    ------
    WeightsError
        If the file is missing, damaged, not one of ours, not what its config says, or its content
        does not match the hash in its name, or holds values that no training leaves behind.
    UsageError
        If torch is needed and is not installed.
    ValueError
        If there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {PRECISIONS}")
    weights = read_weights(name_or_path)
    try:
        return make_extractor(weights, precision)
    except ValueError as error:
        shown = show_path(weights.path or weights.name)
        raise WeightsError(f"{shown} makes no network: {error}. Train it again.") from None


def make_extractor(weights: ExtractorWeights, precision: str = PRECISIONS[0]) -> Extractor:
    """Return the extractor of weights, on the CPU.

    Parameters
    ----------
    weights : ExtractorWeights
    precision : str
        One of ``embedding.config.PRECISIONS``.

    Raises
    ------
    UsageError
        If torch is needed and is not installed.
    ValueError
        If float32 cannot hold the network.
    """
    if precision == PRECISIONS[0]:
        return Extractor(weights, run_by_onnx(weights))
    from auditor.embedding.network import run_by_torch

    return Extractor(weights, run_by_torch(weights, precision), precision)


def read_weights(name_or_path: str | os.PathLike[str]) -> ExtractorWeights:
    """Read a weights file and check what it says.

    Parameters
    ----------
    name_or_path : str or path
        As ``load_extractor`` takes it.

    Returns
    -------
    ExtractorWeights

    Raises
    ------
    WeightsError
        As ``load_extractor`` does.
    """
    path = find_weights(name_or_path)
    shown = show_path(path)
    try:
        if path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise WeightsError(f"{shown} is larger than 1 GiB, the limit for extractor weights.")
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()[:8]
        expected = _HASH_IN_NAME.search(path.name)
        if expected and expected[1] != digest:
            raise WeightsError(
                f"{shown} is damaged: its name says {expected[1]}, its content is {digest}. "
                "Fetch or train it again."
            )
        tensors, header = unpack_tensors(data)
        if header["format"] != FORMAT:
            raise WeightsError(
                f"{shown} has format {header['format']!r:.60}; this version reads {FORMAT}. "
                "Train it again or upgrade auditor."
            )
        config = from_json(ExtractorConfig, parse_json(header["config"]))
        summary = parse_json(header.get("summary", "{}"))
    except OSError as error:
        raise WeightsError(f"{shown} cannot be read: {error.strerror}.") from None
    except SafetensorError as error:
        raise WeightsError(f"{shown} is not a safetensors file: {error}.") from None
    except KeyError:
        raise WeightsError(
            f"{shown} carries no extractor config. Give weights that `audit train` wrote."
        ) from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{shown} has a header that cannot be used: {error}.") from None
    if {k: v.shape for k, v in tensors.items()} != tensor_shapes(config):
        raise WeightsError(f"{shown}: its tensors are not those of its config. Train it again.")
    try:
        tensors = trained_values(tensors)
    except ValueError as error:
        raise WeightsError(f"{shown}: {error}. Train it again.") from None
    return ExtractorWeights(
        config,
        tensors,
        weights_id=digest,
        path=path,
        name=_HASH_IN_NAME.sub("", path.name).removesuffix(".safetensors"),
        summary=summary if isinstance(summary, dict) else {},
    )
