"""The network: the same by onnxruntime and by torch, in float32 and close to it in bfloat16."""

from __future__ import annotations

import dataclasses
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from windows import windows_of

from auditor.embedding.config import PAPER, ExtractorConfig, FeatureConfig
from auditor.embedding.extractor import (
    load_extractor,
    read_weights,
    save_weights,
    tensor_shapes,
)
from auditor.embedding.frames import LogBands, normalise_windows
from auditor.embedding.network import Network, read_network, run_by_torch


def moved(network: Network) -> Network:
    """Return the network with a normalisation that does something."""
    generator = torch.Generator().manual_seed(3)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    for name, parameter in network.named_parameters():
        if name.startswith("convolutions.1"):
            parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5
    return network


@pytest.mark.parametrize(
    "config",
    [
        ExtractorConfig(conv_channels=(4,), lstm_size=8, n_dims=8),
        ExtractorConfig(conv_channels=(3, 4, 5, 6, 7), lstm_size=8, n_dims=24, pooling="mean"),
        ExtractorConfig(conv_channels=(), lstm_size=8, lstm_layers=2, n_dims=8),
        ExtractorConfig(
            features=FeatureConfig(n_bands=41, f_min_hz=220.0, bands_per_octave=8),
            window_frames=33,
            hop_frames=33,
            conv_channels=(2, 2),
            lstm_size=8,
            n_dims=8,
        ),
    ],
)
def test_dvectors_are_unit_vectors_and_the_same_by_onnxruntime_and_torch(config):
    network = moved(Network(config))
    dvectors = network.extractor()(windows_of(config))
    assert dvectors.shape == (3, config.n_dims)
    np.testing.assert_allclose(np.linalg.norm(dvectors, axis=1), 1.0, atol=1e-5)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(windows_of(config)))
    np.testing.assert_allclose(dvectors, expected, atol=2e-6)
    by_torch = run_by_torch(network.weights(), "float32")(windows_of(config))
    np.testing.assert_allclose(by_torch, expected, atol=2e-6)
    assert tensor_shapes(config) == {k: v.shape for k, v in network.weights().tensors.items()}


@pytest.mark.parametrize("channels", [(), (4,)])
def test_no_window_gives_no_dvector(channels):
    config = ExtractorConfig(conv_channels=channels, lstm_size=8, n_dims=8)
    network = Network(config)
    for run in (network.extractor(), run_by_torch(network.weights(), "float32")):
        assert run(windows_of(config, 0)).shape == (0, 8)


def test_an_extractor_goes_to_other_processes(tiny_extractor, tiny_config):
    back = pickle.loads(pickle.dumps(tiny_extractor))
    assert (back.weights_id, back.path) == (tiny_extractor.weights_id, tiny_extractor.path)
    x = windows_of(tiny_config)
    np.testing.assert_array_equal(back(x), tiny_extractor(x))
    assert len({back, tiny_extractor}) == 2
    assert "array" not in repr(back)


@pytest.mark.parametrize("name", ["excerpt", "genre", "track"])
def test_a_dvector_does_not_depend_on_the_windows_beside_it(name):
    extractor = load_extractor(name)
    x = windows_of(extractor.config, 17)
    whole = extractor(x)
    for size in (1, 2, 3, 7, 16):
        parts = [extractor(x[start : start + size]) for start in range(0, 17, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_silence_gives_a_dvector_without_nan(tiny_extractor):
    assert np.isfinite(tiny_extractor(np.zeros((1, 160, 72), np.float32))).all()


def test_the_paper_network_can_be_had():
    with torch.device("meta"):
        network = Network(PAPER)
        dvectors = network(torch.zeros(2, 160, 40))
    assert dvectors.shape == (2, 256)
    assert len(network.convolutions) == 0
    assert (network.lstm.input_size, network.lstm.hidden_size, network.lstm.num_layers) == (
        40,
        768,
        3,
    )


def test_pooling_takes_the_last_output_or_their_mean(tiny_config):
    torch.manual_seed(0)
    last = Network(dataclasses.replace(tiny_config, conv_channels=())).eval()
    mean = Network(dataclasses.replace(tiny_config, conv_channels=(), pooling="mean")).eval()
    mean.load_state_dict(last.state_dict())
    x = torch.from_numpy(windows_of(tiny_config))
    with torch.inference_mode():
        states, _ = last.lstm(x)
        for network, pooled in ((last, states[:, -1]), (mean, states.mean(dim=1))):
            expected = torch.nn.functional.normalize(network.projection(pooled), dim=-1)
            torch.testing.assert_close(network(x), expected)


def test_convolutions_halve_bands_and_frames():
    network = Network(ExtractorConfig(conv_channels=(4, 6), lstm_size=8, n_dims=8)).eval()
    assert network.convolutions(torch.zeros(1, 1, 160, 72)).shape == (1, 6, 40, 18)
    assert network.lstm.input_size == 6 * 18


def test_a_quieter_tune_has_the_same_dvectors(tiny_extractor, make_tune):
    waveform = make_tune(5, duration_s=4.0)
    bands = LogBands(tiny_extractor.config.features)
    loud, quiet = (
        tiny_extractor(normalise_windows(np.stack([bands(w)[s : s + 160] for s in (0, 80, 160)])))
        for w in (waveform, waveform * np.float32(0.25))
    )
    assert (loud * quiet).sum(axis=1).min() >= 0.999


def test_float16_weights_barely_move_a_dvector(tmp_path):
    config = ExtractorConfig(conv_channels=(8, 16), lstm_size=64, n_dims=64)
    torch.manual_seed(1)
    network = Network(config)
    network(torch.from_numpy(windows_of(config, 8)))  # moves the running statistics off 0 and 1
    path = save_weights(network.weights(), tmp_path, name="half", summary={})
    assert all(t.dtype == np.float16 for t in load_file(path).values())
    x = windows_of(config, 16, seed=1)
    cosines = (network.extractor()(x) * load_extractor(path)(x)).sum(axis=1)
    assert cosines.min() > 0.9999


def test_bfloat16_is_close_and_has_an_id_of_its_own(tmp_path, tiny_config):
    network = moved(Network(tiny_config))
    path = save_weights(network.weights(), tmp_path, name="trained", summary={})
    loaded, half = load_extractor(path), load_extractor(path, precision="bfloat16")
    assert (loaded.precision, half.precision) == ("float32", "bfloat16")
    assert half.weights_id == loaded.weights_id + "bfloat16"
    assert half.path == loaded.path == path
    made, exact = (each(windows_of(tiny_config, 5)) for each in (half, loaded))
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1.0, atol=1e-5)
    assert 0.999 < (made * exact).sum(axis=1).min() < 1.0


def test_by_torch_one_thread_computes_whatever_others_are_given(tiny_weights, tiny_config):
    half, seen = load_extractor(tiny_weights, precision="bfloat16"), []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda *_: seen.append(torch.get_num_threads())
    )
    try:
        half(windows_of(tiny_config))
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        hook.remove()
        torch.set_num_threads(before)


def test_an_unknown_precision_is_refused(tiny_weights):
    with pytest.raises(ValueError, match="precision is 'int8'; it must be one of"):
        load_extractor(tiny_weights, precision="int8")


def test_a_network_is_read_as_it_was_saved(tiny_weights):
    network, weights = read_network(tiny_weights), read_weights(tiny_weights)
    assert (network.weights_id, network.name) == (weights.weights_id, "tiny")
    assert network.training
    for key, value in network.weights().tensors.items():
        np.testing.assert_array_equal(value, weights.tensors[key])


ALONE = """
import os, sys
from auditor.embedding.extractor import load_extractor
import numpy as np
loaded = load_extractor("excerpt")
loaded(np.zeros((8, loaded.config.window_frames, loaded.config.features.n_bands), np.float32))
links = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd") if int(n) > 2]
opened = [os.readlink(link) for link in links if os.path.lexists(link)]
assert not any(name.startswith("socket:") for name in opened), opened
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_nothing_is_reported_to_the_maker_of_the_runtime(tmp_path):
    places = {name: tmp_path / name for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {k: str(v) for k, v in places.items()} | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", ALONE], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == "1\n"  # no thread that sends
    assert [os.listdir(place) for place in places.values()] == [[], [], []]  # nothing to be sent


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
from auditor.embedding.extractor import load_extractor
from auditor.errors import UsageError
import numpy as np
loaded = load_extractor("excerpt")
shape = (1, loaded.config.window_frames, loaded.config.features.n_bands)
assert loaded(np.zeros(shape, np.float32)).shape == (1, loaded.config.n_dims)
try:
    load_extractor("excerpt", precision="bfloat16")
except UsageError as error:
    print(error)
"""


def test_without_torch_float32_works_and_the_rest_says_what_to_install():
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True
    )
    assert "need torch, which is not installed. Run: pip install 'auditor[train]'" in run.stdout
