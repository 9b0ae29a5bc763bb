"""The sound model: statistics that do not depend on the level, its file, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file
from tunes import tune

from auditor.embedding.config import SPECTRUM
from auditor.embedding.extractor import find_weights
from auditor.embedding.sound import (
    DIRECTORY,
    MIN_FRAMES,
    SoundModel,
    load_sound_model,
    save_sound_model,
    sound_statistics,
)
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import WeightsError


@pytest.fixture(scope="module")
def spectra():
    return [waveform_spectrum(tune(seed, duration_s=12.0)) for seed in (1, 2)]


def unit(seed: int, n: int = 128) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=n)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def small_model(**facts) -> SoundModel:
    rng = np.random.default_rng(0)
    n = sum(map(len, sound_statistics(unit(0), np.full((9, 100), 80, np.uint8)).values()))
    matrix = rng.normal(size=(n, 16)).astype(np.float16).astype(np.float32)
    return SoundModel(
        np.zeros(n, np.float32), np.ones(n, np.float32), matrix, np.ones(16, np.float32), **facts
    )


def test_the_level_changes_nothing(spectra):
    quiet = spectra[0] - np.uint8(20)
    for name, values in sound_statistics(unit(0), spectra[0]).items():
        np.testing.assert_allclose(sound_statistics(unit(0), quiet)[name], values, atol=1e-4)


def test_each_group_tells_two_tunes_apart(spectra):
    a, b = (sound_statistics(unit(0), spectrum) for spectrum in spectra)
    for name in a:
        assert np.isfinite(a[name]).all()
        assert (name == "embedding") == bool(np.allclose(a[name], b[name]))


def test_the_key_changes_no_interval():
    spectrum = np.full((200, SPECTRUM.n_bands), 60, np.uint8)
    spectrum[:, [20, 28, 34]] = 90
    higher = np.roll(spectrum, 4, axis=1)
    a, b = (sound_statistics(unit(0), x)["harmony"] for x in (spectrum, higher))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_a_beat_shows_at_its_rate():
    slow, fast = (np.full((256, SPECTRUM.n_bands), 60, np.uint8) for _ in range(2))
    slow[::16] = 100
    fast[::4] = 100
    a, b = (
        sound_statistics(unit(0), x)["rhythm"].reshape(-1, 10).mean(axis=1) for x in (slow, fast)
    )
    assert a[2] > b[2] + 1  # 16 frames: bin 4, between 3 and 5
    assert abs(b.argmax() - 6) <= 1  # 4 frames: bin 16


@pytest.mark.parametrize("spectrum", [np.zeros((MIN_FRAMES - 1, 100)), np.zeros((50, 99))])
def test_what_is_no_spectrum_is_refused(spectrum):
    with pytest.raises(ValueError, match="the spectrum has shape"):
        sound_statistics(unit(0), spectrum.astype(np.uint8))


@pytest.mark.parametrize("n_frames", [MIN_FRAMES, 63, 64, 65, 300])
@pytest.mark.parametrize("level", [0, 255])
def test_spectra_of_any_length_and_level_have_vectors(n_frames, level):
    spectrum = np.full((n_frames, SPECTRUM.n_bands), level, np.uint8)
    vector = load_sound_model().embed(unit(0), spectrum)
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)


def test_the_shipped_model_belongs_to_the_shipped_extractor(spectra):
    model = load_sound_model()
    assert find_weights("excerpt").stem == f"excerpt-{model.extractor}"
    a, b = (model.embed(unit(0), spectrum) for spectrum in spectra)
    assert a.dtype == np.float32
    assert a.shape == (model.n_dims,)
    assert float(a @ b) < 0.999
    groups = sound_statistics(unit(0), spectra[0])
    assert model.summary["groups"] == {name: len(values) for name, values in groups.items()}
    (file,) = DIRECTORY.glob("*.safetensors")
    assert set(load_file(file)) == {"mean", "spread", "matrix", "offset"}


def test_a_model_is_read_back(tmp_path, spectra):
    model = small_model(extractor="0a1b2c3d", summary={"tracks": 3})
    path = save_sound_model(model, tmp_path)
    assert save_sound_model(model, tmp_path / "again").name == path.name
    found = load_sound_model(path)
    assert (found.name, found.extractor) == (path.stem, "0a1b2c3d")
    assert found.summary == {"tracks": 3}
    vector = model.embed(unit(1), spectra[0])
    np.testing.assert_allclose(found.embed(unit(1), spectra[0]), vector, atol=1e-6)


def test_damaged_models_are_refused(tmp_path):
    path = save_sound_model(small_model(extractor="0a1b2c3d"), tmp_path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    changed = tmp_path / "changed" / path.name
    changed.parent.mkdir()
    changed.write_bytes(data)
    with pytest.raises(WeightsError, match="its content is .*, its name says another"):
        load_sound_model(changed)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_sound_model(tmp_path / "sound-none.safetensors")
    broken = small_model(extractor="0a1b2c3d")
    broken.matrix[0, 0] = np.nan
    with pytest.raises(WeightsError, match="not finite"):
        load_sound_model(save_sound_model(broken, tmp_path))
