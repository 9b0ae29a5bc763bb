"""Weights files that are whole, damaged, foreign or hostile."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from windows import windows_of

from auditor.embedding import extractor as module
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.extractor import (
    FORMAT,
    find_weights,
    load_extractor,
    pack_tensors,
    save_weights,
    unpack_tensors,
)
from auditor.embedding.network import Network
from auditor.errors import WeightsError
from auditor.serialisation import to_json


def header(config: ExtractorConfig) -> dict[str, str]:
    return {
        "format": FORMAT,
        "config": json.dumps(to_json(config)),
        "summary": json.dumps({"n": 1}),
    }


@pytest.fixture
def tensors(tiny_weights):
    return load_file(tiny_weights)


# Weights files


def test_weights_carry_hash_config_and_summary(tiny_weights, tiny_config, tiny_extractor):
    digest = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()[:8]
    assert tiny_weights.name == f"tiny-{digest}.safetensors"
    assert (tiny_extractor.weights_id, tiny_extractor.name) == (digest, "tiny")
    assert tiny_extractor.config == tiny_config
    assert tiny_extractor.summary == {"classes": "track", "best_step": 0}


def test_saving_twice_gives_the_same_file(tiny_extractor, tmp_path):
    paths = [
        save_weights(tiny_extractor.weights, tmp_path / d, name="x", summary={"b": 1, "a": 2})
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
    assert all(np.array_equal(unpacked[k], tensors[k]) for k in tensors)


def test_loading_gives_the_same_dvectors_every_time(tiny_weights):
    x = windows_of(ExtractorConfig())
    one, two = (load_extractor(tiny_weights)(x) for _ in range(2))
    assert np.array_equal(one, two)


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
    for name, changed in {"less": without, "more": tensors | {"x": np.zeros(1)}}.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(changed, path, metadata=header(tiny_config))
        with pytest.raises(WeightsError, match="its tensors are not those of its config"):
            load_extractor(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite(tmp_path, tensors, tiny_config, value):
    tensors["projection.bias"] = np.full(16, value, np.float64)
    path = tmp_path / "nan.safetensors"
    save_file(tensors, path, metadata=header(tiny_config))
    with pytest.raises(WeightsError, match="holds values that are not finite"):
        load_extractor(path)


@pytest.mark.parametrize("kind", [np.int8, np.bool_, np.complex64])
def test_numbers_that_are_no_floats(tmp_path, tensors, tiny_config, kind):
    tensors["projection.bias"] = np.zeros(16, kind)
    path = tmp_path / "other.safetensors"
    save_file(tensors, path, metadata=header(tiny_config))
    message = rf"projection\.bias holds numbers of the type {np.dtype(kind)}\. Train it again"
    with pytest.raises(WeightsError, match=message):
        load_extractor(path)


def test_a_normalisation_that_float32_cannot_hold(tmp_path, tensors, tiny_config):
    tensors = {k: v.astype(np.float32) for k, v in tensors.items()}
    tensors["convolutions.1.running_var"][:] = 0.0
    tensors["convolutions.1.weight"][:] = 1e38
    path = tmp_path / "steep.safetensors"
    save_file(tensors, path, metadata=header(tiny_config))
    with pytest.raises(WeightsError, match=r"steep\.safetensors makes no network: .* not finite"):
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
    weights = Network(tiny_config).weights()
    weights.tensors["projection.bias"][3] = 65_504.0
    assert load_extractor(save_weights(weights, tmp_path / "ok", name="x", summary={}))
    weights.tensors["projection.bias"][3] = value
    with pytest.raises(WeightsError, match=r"tensor projection\.bias .* finite in float16"):
        save_weights(weights, tmp_path / "bad", name="x", summary={})
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
