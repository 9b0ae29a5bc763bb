"""The spectrum of a track: in blocks as at once, cut by time, and kept in the catalogue."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import write_audio
from auditor.catalogue.catalogue import Catalogue
from auditor.catalogue.spectrograms import put_spectrum, read_spectrum
from auditor.embedding.config import SPECTRUM, SPECTRUM_LAYOUT
from auditor.embedding.spectrogram import (
    SpectrumStream,
    cut_spectrum,
    file_spectrum,
    waveform_spectrum,
)
from auditor.errors import AudioError, CatalogueError

SHA = "ab" * 32


@pytest.fixture
def spectrum(make_tune):
    return waveform_spectrum(make_tune(3, duration_s=8.0))


def test_blocks_give_the_spectrum_of_the_whole(make_tune, spectrum):
    stream = SpectrumStream()
    for block in np.array_split(make_tune(3, duration_s=8.0), 13):
        stream.feed(block)
    np.testing.assert_array_equal(stream.spectrum(), spectrum)
    assert spectrum.dtype == np.uint8
    assert spectrum.shape[1] == SPECTRUM.n_bands


def test_a_file_has_the_spectrum_of_its_waveform(tmp_path, make_tune, spectrum):
    write_audio(tmp_path / "a.flac", make_tune(3, duration_s=8.0), codec="flac")
    found = file_spectrum(tmp_path / "a.flac").astype(int)
    loud = spectrum > 100
    assert np.abs(found - spectrum)[loud].max() <= 1
    with pytest.raises(AudioError):
        file_spectrum(tmp_path / "none.flac")


def test_a_tone_lies_in_its_band_and_in_its_time():
    time_s = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    tone = np.where(time_s < 2.0, 0.0, 0.5 * np.sin(2 * np.pi * 880.0 * time_s))
    frames = waveform_spectrum(tone.astype(np.float32))
    late = cut_spectrum(frames, 2.5, 3.5)
    assert late.mean(axis=0).argmax() == 2 * SPECTRUM.bands_per_octave  # two octaves above 220 Hz
    assert late.max() > cut_spectrum(frames, 0.0, 1.5).max() + 40.0
    assert len(late) == pytest.approx(1.0 / SPECTRUM.frame_hop_s, abs=1)


@pytest.mark.parametrize(("start_s", "end_s"), [(-5.0, -1.0), (90.0, 99.0), (3.0, 3.0)])
def test_nothing_lies_outside_of_a_track(spectrum, start_s, end_s):
    assert cut_spectrum(spectrum, start_s, end_s).shape == (0, SPECTRUM.n_bands)


def test_a_catalogue_keeps_spectra_by_content(tmp_path, spectrum):
    with Catalogue.open(tmp_path / "c.sqlite3") as catalogue:
        assert catalogue.spectrum(SHA) is None
        catalogue.store_spectrum(SHA, spectrum)
        np.testing.assert_array_equal(catalogue.spectrum(SHA), spectrum)
        catalogue.store_spectrum(SHA, spectrum[:5])
        np.testing.assert_array_equal(catalogue.spectrum(SHA), spectrum[:5])
        catalogue.store_spectrum(SHA, spectrum[:0])
        assert catalogue.spectrum(SHA).shape == (0, SPECTRUM.n_bands)


def test_what_a_stranger_wrote_is_refused(tmp_path, spectrum):
    connection = sqlite3.connect(":memory:")
    assert read_spectrum(connection, SHA, SPECTRUM_LAYOUT, 100) is None  # an older catalogue
    connection.execute("CREATE TABLE spectra (sha256 TEXT PRIMARY KEY, layout TEXT, frames BLOB)")
    put_spectrum(connection, SHA, SPECTRUM_LAYOUT, spectrum)
    assert read_spectrum(connection, SHA, "another layout", 100) is None
    (good,) = connection.execute("SELECT frames FROM spectra").fetchone()
    for bad in (b"", b"no zlib", good[:-3], "text", None):
        connection.execute("UPDATE spectra SET frames = ?", (bad,))
        with pytest.raises(CatalogueError, match="spectrum of the content abababababab is damaged"):
            read_spectrum(connection, SHA, SPECTRUM_LAYOUT, 100)
    with pytest.raises(CatalogueError, match="damaged"):
        connection.execute("UPDATE spectra SET frames = ?", (good,))
        read_spectrum(connection, SHA, SPECTRUM_LAYOUT, 77)
    with pytest.raises(ValueError, match="uint8"):
        put_spectrum(connection, SHA, SPECTRUM_LAYOUT, spectrum.astype(float))
