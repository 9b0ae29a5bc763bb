"""The network, and weights files that are whole, damaged, foreign or hostile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from auditor.embedding import extractor as module
from auditor.embedding.config import PAPER, ExtractorConfig, FeatureConfig
from auditor.embedding.extractor import (
    FORMAT,
    Extractor,
    find_weights,
    load_extractor,
    pack_tensors,
    save_extractor,
    unpack_tensors,
)
from auditor.embedding.frames import LogBands, normalise_windows
from auditor.errors import WeightsError
from auditor.serialisation import to_json


def windows_of(config: ExtractorConfig, n: int = 3, seed: int = 0) -> torch.Tensor:
    shape = (n, config.window_frames, config.features.n_bands)
    return normalise_windows(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 20)


def header(config: ExtractorConfig) -> dict[str, str]:
    return {
        "format": FORMAT,
        "config": json.dumps(to_json(config)),
        "summary": json.dumps({"n": 1}),
    }


@pytest.fixture
def tensors(tiny_weights):
    return load_file(tiny_weights)


# The network


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
def test_dvectors_are_unit_vectors(config):
    torch.manual_seed(0)
    network = Extractor(config).eval()
    with torch.inference_mode():
        dvectors = network(windows_of(config))
    assert dvectors.shape == (3, config.n_dims)
    torch.testing.assert_close(dvectors.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)


def test_silence_gives_a_dvector_without_nan(tiny_extractor):
    with torch.inference_mode():
        dvector = tiny_extractor(torch.zeros(1, 160, 72))
    assert bool(torch.isfinite(dvector).all())


def test_the_paper_network_can_be_had():
    with torch.device("meta"):
        network = Extractor(PAPER)
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
    last = Extractor(dataclasses.replace(tiny_config, conv_channels=())).eval()
    mean = Extractor(dataclasses.replace(tiny_config, conv_channels=(), pooling="mean")).eval()
    mean.load_state_dict(last.state_dict())
    x = windows_of(tiny_config)
    with torch.inference_mode():
        states, _ = last.lstm(x)
        for network, pooled in ((last, states[:, -1]), (mean, states.mean(dim=1))):
            expected = torch.nn.functional.normalize(network.projection(pooled), dim=-1)
            torch.testing.assert_close(network(x), expected)


def test_convolutions_halve_bands_and_frames():
    network = Extractor(ExtractorConfig(conv_channels=(4, 6), lstm_size=8, n_dims=8)).eval()
    assert network.convolutions(torch.zeros(1, 1, 160, 72)).shape == (1, 6, 40, 18)
    assert network.lstm.input_size == 6 * 18


def test_a_quieter_tune_has_the_same_dvectors(tiny_extractor, make_tune):
    waveform = torch.from_numpy(make_tune(5, duration_s=4.0))
    bands = LogBands(tiny_extractor.config.features)
    with torch.inference_mode():
        loud, quiet = (
            tiny_extractor(normalise_windows(bands(w).unfold(0, 160, 80).transpose(1, 2)))
            for w in (waveform, waveform * 0.25)
        )
    assert float((loud * quiet).sum(dim=1).min()) >= 0.999


# Weights files


def test_weights_carry_hash_config_and_summary(tiny_weights, tiny_config, tiny_extractor):
    digest = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()[:8]
    assert tiny_weights.name == f"tiny-{digest}.safetensors"
    assert (tiny_extractor.weights_id, tiny_extractor.name) == (digest, "tiny")
    assert tiny_extractor.config == tiny_config
    assert tiny_extractor.summary == {"classes": "track", "best_step": 0}
    assert not tiny_extractor.training
    assert not any(p.requires_grad for p in tiny_extractor.parameters())


def test_saving_twice_gives_the_same_file(tiny_extractor, tmp_path):
    paths = [
        save_extractor(tiny_extractor, tmp_path / d, name="x", summary={"b": 1, "a": 2})
        for d in ("one", "two/deeper")
    ]
    assert paths[0].name == paths[1].name
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert os.listdir(tmp_path / "one") == [paths[0].name]


def test_packed_tensors_are_the_same_bytes_every_time(tensors):
    metadata = {name: name for name in "hgfedcba"}
    packed = {pack_tensors(tensors, metadata) for _ in range(10)}
    assert len(packed) == 1
    unpacked, header = unpack_tensors(packed.pop())
    assert header == metadata
    assert unpacked.keys() == tensors.keys()
    assert all(torch.equal(unpacked[k], tensors[k]) for k in tensors)


def test_float16_weights_barely_move_a_dvector(tmp_path):
    config = ExtractorConfig(conv_channels=(8, 16), lstm_size=64, n_dims=64)
    torch.manual_seed(1)
    network = Extractor(config)
    network(windows_of(config, 8))  # moves the running statistics off 0 and 1
    network.eval()
    path = save_extractor(network, tmp_path, name="half", summary={})
    assert all(t.dtype == torch.float16 for t in load_file(path).values())
    x = windows_of(config, 16, seed=1)
    with torch.inference_mode():
        cosines = (network(x) * load_extractor(path)(x)).sum(dim=1)
    assert float(cosines.min()) > 0.9999


def test_loading_gives_the_same_dvectors_every_time(tiny_weights):
    x = windows_of(ExtractorConfig())
    with torch.inference_mode():
        one, two = (load_extractor(tiny_weights)(x) for _ in range(2))
    assert torch.equal(one, two)


def test_weights_may_lie_below_any_name(tiny_weights, tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9 <b>")
    os.mkdir(folder)
    path = os.path.join(folder, b"renamed.safetensors")
    with open(path, "wb") as file:
        file.write(tiny_weights.read_bytes())
    loaded = load_extractor(os.fsdecode(path))
    assert loaded.name == "renamed"
    assert loaded.weights_id == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()[:8]


def test_a_flipped_byte_is_found(tiny_weights, tmp_path):
    data = bytearray(tiny_weights.read_bytes())
    data[-1] ^= 1
    path = tmp_path / tiny_weights.name
    path.write_bytes(data)
    with pytest.raises(
        WeightsError, match=r"is damaged: its name says \w{8}, its content is \w{8}"
    ):
        load_extractor(path)


@pytest.mark.parametrize("n_bytes", [0, 7, 100, -1])
def test_a_truncated_file_is_no_safetensors_file(tiny_weights, tmp_path, n_bytes):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(tiny_weights.read_bytes()[:n_bytes])
    with pytest.raises(WeightsError, match=r"cut\.safetensors is not a safetensors file"):
        load_extractor(path)


def test_a_text_file_is_no_safetensors_file(tmp_path):
    path = tmp_path / "note.safetensors"
    path.write_text("hello, this is not a network at all")
    with pytest.raises(WeightsError, match="is not a safetensors file"):
        load_extractor(path)


def test_a_file_that_vanishes_or_is_a_folder(tmp_path):
    with pytest.raises(WeightsError, match=r"no extractor \S+: it is neither a weights file nor"):
        load_extractor(tmp_path / "absent.safetensors")
    with pytest.raises(
        WeightsError, match="it is neither a weights file nor one of the pretrained"
    ):
        load_extractor(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "carries no extractor config. Give weights that `audit train` wrote"),
        ({"format": "pt"}, "has format 'pt'; this version reads audit-extractor/1"),
        ({"format": FORMAT}, "carries no extractor config"),
        ({"format": FORMAT, "config": "{"}, "has a header that cannot be used"),
        ({"format": FORMAT, "config": "[" * 100_000}, "has a header that cannot be used"),
        ({"format": FORMAT, "config": "[]"}, "config is a list; an object was expected"),
        (
            header(ExtractorConfig()) | {"config": '{"lstm_size": 1e9}'},
            r"config\.lstm_size is 1000000000\.0; int was expected",
        ),
        (header(ExtractorConfig()) | {"config": '{"lstm_size": 9999}'}, "lstm_size is 9999"),
        (header(ExtractorConfig()) | {"config": '{"surprise": 1}'}, "unknown field 'surprise'"),
        (header(ExtractorConfig()) | {"summary": "{"}, "has a header that cannot be used"),
    ],
)
def test_a_foreign_or_hostile_header(tmp_path, tensors, metadata, message):
    path = tmp_path / "foreign.safetensors"
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(WeightsError, match=message):
        load_extractor(path)


def test_a_config_that_its_tensors_do_not_fit(tmp_path, tensors, tiny_config):
    huge = dataclasses.replace(tiny_config, lstm_size=2048, lstm_layers=6, n_dims=2048)
    for name, config in {"other": ExtractorConfig(), "huge": huge}.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path, metadata=header(config))
        with pytest.raises(WeightsError, match="its tensors are not those of its config"):
            load_extractor(path)


def test_missing_and_extra_tensors(tmp_path, tensors, tiny_config):
    without = {k: v for k, v in tensors.items() if k != "projection.bias"}
    for name, changed in {"less": without, "more": tensors | {"x": torch.zeros(1)}}.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(changed, path, metadata=header(tiny_config))
        with pytest.raises(WeightsError, match="its tensors are not those of its config"):
            load_extractor(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite(tmp_path, tensors, tiny_config, value):
    tensors["projection.bias"] = torch.full((16,), value, dtype=torch.float64)
    path = tmp_path / "nan.safetensors"
    save_file(tensors, path, metadata=header(tiny_config))
    with pytest.raises(WeightsError, match="holds values that are not finite"):
        load_extractor(path)


@pytest.mark.parametrize(("value", "good"), [(-1e-3, False), (-0.0, True), (0.0, True)])
def test_a_variance_may_not_be_negative(tmp_path, tensors, tiny_config, value, good):
    key = next(k for k in tensors if k.endswith("running_var"))
    tensors[key][2] = value
    path = tmp_path / "negative.safetensors"
    save_file(tensors, path, metadata=header(tiny_config))
    if good:
        assert load_extractor(path).name == "negative"
        return
    with pytest.raises(WeightsError, match=rf"{key} holds the negative variance -0\.00\d+\. Train"):
        load_extractor(path)


@pytest.mark.parametrize("value", [65_536.0, -1e6, float("inf"), float("nan")])
def test_values_that_float16_cannot_hold_are_not_saved(tmp_path, tiny_config, value):
    network = Extractor(tiny_config)
    with torch.no_grad():
        network.projection.bias[3] = 65_504.0
    assert load_extractor(save_extractor(network, tmp_path / "ok", name="x", summary={}))
    with torch.no_grad():
        network.projection.bias[3] = value
    with pytest.raises(WeightsError, match=r"tensor projection\.bias .* finite in float16"):
        save_extractor(network, tmp_path / "bad", name="x", summary={})
    assert not (tmp_path / "bad").exists()


def test_a_summary_that_is_no_object_is_passed_over(tmp_path, tensors, tiny_config):
    path = tmp_path / "plain.safetensors"
    save_file(tensors, path, metadata=header(tiny_config) | {"summary": "[1]"})
    assert load_extractor(path).summary == {}


def test_a_file_too_large_for_weights(tiny_weights, monkeypatch):
    monkeypatch.setattr(module, "MAX_WEIGHTS_BYTES", 1000)
    with pytest.raises(WeightsError, match="is larger than 1 GiB"):
        load_extractor(tiny_weights)


def test_names_of_pretrained_extractors(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PRETRAINED", tmp_path)
    with pytest.raises(WeightsError, match=r"no extractor tiny: .*\(none is installed\)"):
        find_weights("tiny")
    shipped = tmp_path / tiny_weights.name
    shipped.write_bytes(tiny_weights.read_bytes())
    assert find_weights("tiny") == shipped
    assert find_weights(shipped) == shipped
    with pytest.raises(WeightsError, match=r"no extractor other: .*\(tiny\)"):
        find_weights("other")
    (tmp_path / "tiny-01234567.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="2 pretrained extractors are named tiny"):
        find_weights("tiny")


def test_a_name_comes_before_a_file_of_that_name(tiny_weights, tmp_path, monkeypatch):
    pretrained, here = tmp_path / "pretrained", tmp_path / "here"
    pretrained.mkdir()
    here.mkdir()
    monkeypatch.setattr(module, "PRETRAINED", pretrained)
    monkeypatch.chdir(here)
    shipped = pretrained / tiny_weights.name
    for path in (shipped, here / "tiny", here / "tiny.safetensors", here / "other"):
        path.write_bytes(tiny_weights.read_bytes())
    assert find_weights("tiny") == shipped
    assert find_weights(os.path.join(".", "tiny")).resolve() == here / "tiny"
    assert find_weights(here / "tiny") == here / "tiny"
    assert find_weights("tiny.safetensors").resolve() == here / "tiny.safetensors"
    assert find_weights("other").resolve() == here / "other"
    with pytest.raises(WeightsError, match="no extractor absent: it is neither"):
        find_weights("absent")


@pytest.fixture
def trained(tmp_path, tiny_config):
    """Return an extractor whose normalisation does something, and its file."""
    extractor = Extractor(tiny_config)
    generator = torch.Generator().manual_seed(3)
    for name, buffer in extractor.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    for name, parameter in extractor.named_parameters():
        if name.startswith("convolutions.1"):
            parameter.data = torch.rand(parameter.shape, generator=generator) + 0.5
    path = save_extractor(extractor, tmp_path, name="trained", summary={})
    for tensor in extractor.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())  # as it is in the file
    return extractor.eval(), path


def test_folding_the_normalisation_changes_nothing(trained):
    extractor, path = trained
    loaded = load_extractor(path)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in loaded.modules())
    windows = windows_of(extractor.config, 5)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(windows), extractor(windows), atol=2e-6, rtol=0)


def test_bfloat16_is_close_and_has_an_id_of_its_own(trained):
    extractor, path = trained
    loaded, half = load_extractor(path), load_extractor(path, precision="bfloat16")
    assert (loaded.precision, half.precision) == ("float32", "bfloat16")
    assert half.weights_id == loaded.weights_id + "bfloat16"
    assert half.path == loaded.path == path
    with torch.inference_mode():
        made = half(windows_of(extractor.config, 5))
        exact = extractor(windows_of(extractor.config, 5))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.norm(dim=1), torch.ones(5))
    cosines = (made * exact).sum(dim=1)
    assert 0.999 < float(cosines.min()) < 1.0


def test_an_unknown_precision_is_refused(trained):
    with pytest.raises(ValueError, match="precision is 'int8'; it must be one of"):
        load_extractor(trained[1], precision="int8")
