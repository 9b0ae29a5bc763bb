"""The network of an extractor in torch: to train it, and for arithmetic that onnxruntime lacks.

What it computes is what ``extractor.run_by_onnx`` computes from the same tensors; a test holds the
two together.

References
----------
Wan, Wang, Papir, Moreno (2018), arXiv:1710.10467, section 2.1 and equation 4.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from auditor.embedding.config import PRECISIONS, ExtractorConfig
from auditor.embedding.extractor import (
    Extractor,
    ExtractorWeights,
    kernel_size,
    make_extractor,
    read_weights,
)
from auditor.errors import UsageError

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise UsageError(
        "training, bfloat16 and a GPU need torch, which is not installed. "
        "Run: pip install 'auditor[train]'"
    ) from None
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Network(nn.Module):
    """Windows in, d-vectors out, with gradients.

    Parameters
    ----------
    config : ExtractorConfig
        Shape of the network and layout of its input.

    Attributes
    ----------
    weights_id, name, summary
        Of the weights that it was read from; see ``extractor.ExtractorWeights``.
    """

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        self.config = config
        self.weights_id = ""
        self.name = "untrained"
        self.summary: dict[str, Any] = {}
        layers: list[nn.Module] = []
        n_in, n_bands = 1, config.features.n_bands
        for i, n_out in enumerate(config.conv_channels):
            size = kernel_size(i)
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

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return one d-vector for each window.

        Parameters
        ----------
        windows : torch.Tensor
            (n, window_frames, n_bands) float32, normalised by ``frames.normalise_windows``.

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

    def weights(self) -> ExtractorWeights:
        """Return what it has learned, float32; the tensors share its memory."""
        return ExtractorWeights(
            self.config,
            {
                key: value.detach().cpu().numpy()
                for key, value in sorted(self.state_dict().items())
                if not key.endswith("num_batches_tracked")
            },
            self.weights_id,
            name=self.name,
            summary=self.summary,
        )

    def extractor(self) -> Extractor:
        """Return the extractor that it is by now; its weights are in no file."""
        return make_extractor(self.weights())


def network_of(weights: ExtractorWeights) -> Network:
    """Return the network of weights, float32, in training mode."""
    network = Network(weights.config)
    # A copy: training writes to it.
    tensors = {k: torch.from_numpy(np.array(v, np.float32)) for k, v in weights.tensors.items()}
    network.load_state_dict(tensors, strict=False)
    network.weights_id, network.name = weights.weights_id, weights.name
    network.summary = weights.summary
    return network


def read_network(name_or_path: str | os.PathLike[str]) -> Network:
    """Read a network as it was trained, to train it further.

    Parameters
    ----------
    name_or_path : str or path
        As ``extractor.load_extractor`` takes it.

    Returns
    -------
    Network
        In training mode, float32, its attributes set.

    Raises
    ------
    WeightsError
        As ``extractor.read_weights`` does.
    """
    return network_of(read_weights(name_or_path))


def run_by_torch(
    weights: ExtractorWeights, precision: str, device: str = "cpu"
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network of weights as a function from windows to d-vectors, float32.

    Parameters
    ----------
    weights : ExtractorWeights
    precision : str
        One of ``embedding.config.PRECISIONS``: of the convolutions and the LSTM.
    device : str
        A device of torch.  On a CPU one thread computes, as everywhere: torch counts its own
        threads, and may have been imported after ``parallel.one_thread``.
    """
    network = network_of(weights).eval().requires_grad_(False)
    layers = list(network.convolutions)
    folded: list[nn.Module] = []
    for convolution, normalisation in zip(layers[::3], layers[1::3], strict=True):
        folded += [fuse_conv_bn_eval(convolution, normalisation), nn.ReLU(inplace=True)]
    network.convolutions = nn.Sequential(*folded).to(  # type: ignore[call-overload]  # torch documents it
        memory_format=torch.channels_last
    )
    if precision != PRECISIONS[0]:
        for part in (network.convolutions, network.lstm):
            part.to(torch.bfloat16)
    network.to(device)

    def run(windows: np.ndarray) -> np.ndarray:
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                return network(torch.from_numpy(windows).to(device)).cpu().numpy()
        finally:
            torch.set_num_threads(n_threads)

    return run


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
