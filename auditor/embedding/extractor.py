"""The GE2E d-vector network, and its weights on disk.

Strided convolutions (optional) halve bands and frames, an LSTM reads the frames, and its last
output, or the mean of its outputs, is projected and brought to unit length.  With
``conv_channels=()``, three LSTM layers of 768 and ``pooling="last"`` it is the paper's network.

Weights are safetensors files whose header carries the whole config and the training summary, and
whose name carries the first 8 hex digits of their SHA-256.

References
----------
Wan, Wang, Papir, Moreno (2018), arXiv:1710.10467, section 2.1 and equation 4.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

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


class Extractor(nn.Module):
    """Windows in, d-vectors out.

    Parameters
    ----------
    config : ExtractorConfig
        Shape of the network and layout of its input.

    Attributes
    ----------
    weights_id : str
        First 8 hex digits of the SHA-256 of the weights file; empty for weights not on disk.  With
        bfloat16 arithmetic, that word behind it: such d-vectors are kept apart from the others.
    path, precision : pathlib.Path or None, str
        The file it was loaded from, and its arithmetic, one of ``embedding.config.PRECISIONS``.
    name : str
        Stem of the weights file without the hash, for example ``track``.
    summary : dict
        What the training run wrote into the header.
    """

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        self.config = config
        self.weights_id = ""
        self.path: Path | None = None
        self.precision = PRECISIONS[0]
        self.name = "untrained"
        self.summary: dict[str, Any] = {}
        layers: list[nn.Module] = []
        n_in, n_bands = 1, config.features.n_bands
        for i, n_out in enumerate(config.conv_channels):
            size = 5 if i == 0 else 3
            layers += [
                nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            n_in, n_bands = n_out, (n_bands + 1) // 2
        # Channels last: the convolutions of a CPU run a third faster.
        self.convolutions = nn.Sequential(*layers).to(  # type: ignore[call-overload]  # torch documents it
            memory_format=torch.channels_last
        )
        self.lstm = nn.LSTM(
            n_in * n_bands, config.lstm_size, num_layers=config.lstm_layers, batch_first=True
        )
        self.projection = nn.Linear(config.lstm_size, config.n_dims)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.projection.weight.device

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return one d-vector for each window.

        Parameters
        ----------
        windows : torch.Tensor
            (n, window_frames, n_bands) float32, normalised by ``features.normalise_windows``.

        Returns
        -------
        torch.Tensor
            (n, n_dims) float32, unit norm.
        """
        windows = windows.to(next(self.lstm.parameters()).dtype)
        if len(self.convolutions):
            x = self.convolutions(windows[:, None])  # (n, channels, frames', bands')
            x = x.permute(0, 2, 1, 3).flatten(2)  # (n, frames', channels * bands')
        else:
            x = windows  # (n, window_frames, n_bands)
        states, _ = self.lstm(x)  # (n, frames', lstm_size)
        states = states.to(self.projection.weight.dtype)
        pooled = states[:, -1] if self.config.pooling == "last" else states.mean(dim=1)
        return nn.functional.normalize(self.projection(pooled), dim=-1)  # (n, n_dims)


def has_bfloat16_training() -> bool:
    """Return whether this processor can train in bfloat16.

    oneDNN has no bfloat16 LSTM for processors without AVX-512 (or Arm's bfloat16), and
    ``torch.nn.LSTM`` under autocast raises there.
    """
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is not None and torch.backends.mkldnn.is_available() and bool(supported())


def mixed_precision(precision: str) -> torch.autocast:
    """Return the context in which the network computes in a precision, float32 where it must.

    Parameters
    ----------
    precision : str
        One of ``embedding.config.PRECISIONS``.  bfloat16 is float32 on a processor that cannot
        train in it.

    Returns
    -------
    torch.autocast
    """
    enabled = precision == "bfloat16" and has_bfloat16_training()
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)


def save_extractor(
    extractor: Extractor, directory: str | os.PathLike[str], *, name: str, summary: dict[str, Any]
) -> Path:
    """Write weights as ``<directory>/<name>-<hash>.safetensors`` in float16.

    Parameters
    ----------
    extractor : Extractor
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
    tensors = {
        key: value.detach().to("cpu", torch.float16 if value.is_floating_point() else None)
        for key, value in sorted(extractor.state_dict().items())
        if not key.endswith("num_batches_tracked")
    }
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(
                f"the tensor {key} holds values that are not finite in float16, whose largest is "
                "65,504. Train with another --seed, or with --precision float32."
            )
    header = {
        "format": FORMAT,
        "config": json.dumps(to_json(extractor.config), sort_keys=True),
        "summary": json.dumps(summary, sort_keys=True),
    }
    return write_weights(Path(directory), name, pack_tensors(tensors, header))


def pack_tensors(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file in memory, the same bytes for the same content."""
    data = save_tensors({k: v.contiguous() for k, v in tensors.items()}, metadata=metadata)
    return with_sorted_header(data)


def unpack_tensors(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a safetensors file in memory.

    Raises
    ------
    SafetensorError
        If it is none, or damaged.
    """
    tensors = load_tensors(data)  # checks the header before it is read again
    return tensors, tensors_metadata(data)


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
        One of ``embedding.config.PRECISIONS``.  Where the processor has instructions for bfloat16,
        that takes half the time; d-vectors differ by a cosine of some 1e-4 (benchmarks/RESULTS.md).

    Returns
    -------
    Extractor
        In evaluation mode, its normalisation folded into the convolutions, and with its
        attributes set.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, not one of ours, not what its config says, or its content
        does not match the hash in its name, or holds values that no training leaves behind.
    ValueError
        If there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {PRECISIONS}")
    extractor = read_extractor(name_or_path)
    _fold(extractor.eval())
    extractor.precision = precision
    if precision == "bfloat16":
        extractor.weights_id += precision
        for part in (extractor.convolutions, extractor.lstm):
            part.to(torch.bfloat16)
    return extractor.requires_grad_(False)


def read_extractor(name_or_path: str | os.PathLike[str]) -> Extractor:
    """Read an extractor as it was trained: to train it further, or for ``load_extractor``.

    Parameters
    ----------
    name_or_path : str or path
        As ``load_extractor`` takes it.

    Returns
    -------
    Extractor
        In training mode, float32, its attributes set.

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
    with torch.device("meta"):  # a stranger's config allocates nothing before its tensors fit it
        wanted = {
            k: v.shape
            for k, v in Extractor(config).state_dict().items()
            if not k.endswith("num_batches_tracked")
        }
    if {k: v.shape for k, v in tensors.items()} != wanted:
        raise WeightsError(f"{shown}: its tensors are not those of its config. Train it again.")
    tensors = {k: v.float() for k, v in tensors.items()}
    if not all(bool(torch.isfinite(v).all()) for v in tensors.values()):
        raise WeightsError(f"{shown} holds values that are not finite. Train it again.")
    for key, value in tensors.items():
        if key.endswith("running_var") and bool((value < 0).any()):
            raise WeightsError(
                f"{shown}: {key} holds the negative variance {float(value.min()):g}. "
                "Train it again."
            )
    extractor = Extractor(config)
    extractor.load_state_dict(tensors, strict=False)
    extractor.weights_id, extractor.path = digest, path
    extractor.name = _HASH_IN_NAME.sub("", path.name).removesuffix(".safetensors")
    extractor.summary = summary if isinstance(summary, dict) else {}
    return extractor


def _fold(extractor: Extractor) -> None:
    """Fold the normalisation into the convolutions: half the time, equal but for rounding."""
    layers = list(extractor.convolutions)
    folded: list[nn.Module] = []
    for convolution, normalisation in zip(layers[::3], layers[1::3], strict=True):
        folded += [fuse_conv_bn_eval(convolution, normalisation), nn.ReLU(inplace=True)]
    extractor.convolutions = nn.Sequential(*folded).to(  # type: ignore[call-overload]  # torch documents it
        memory_format=torch.channels_last
    )
