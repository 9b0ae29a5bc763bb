"""Calibration: which tracks of the catalogue lie below the folders that are given."""

from __future__ import annotations

import pytest
from small_audit import save_small_extractor, write_tune

from auditor import calibrate
from auditor.ingest import ingest
from auditor.workspace import open_workspace


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory):
    """Return a folder with music in ``a`` and ``ab``, and a workspace that holds it."""
    folder = tmp_path_factory.mktemp("calibrate").resolve()
    for seed, name in enumerate(["a/1.wav", "a/2.wav", "ab/3.wav"]):
        write_tune(folder / name, seed, duration_s=3.0)
    (folder / "link").symlink_to(folder / "a")
    weights = save_small_extractor(folder / "weights")
    with open_workspace(folder / "ws", extractor=weights) as workspace:
        ingest(workspace, [folder / "a", folder / "ab"])
        yield folder, workspace


@pytest.mark.parametrize(
    ("root", "names"),
    [
        ("a", ["a/1.wav", "a/2.wav"]),
        ("link", ["a/1.wav", "a/2.wav"]),
        ("link/../ab", ["ab/3.wav"]),
        ("a/2.wav", ["a/2.wav"]),
        ("ws", []),
        ("/", ["a/1.wav", "a/2.wav", "ab/3.wav"]),
    ],
)
def test_the_tracks_below_a_folder_are_found_by_any_of_its_names(catalogued, root, names):
    folder, workspace = catalogued
    paths, hashes, embeddings = calibrate._below(workspace, [folder / root])
    assert paths == [str(folder / name) for name in names]
    assert len(hashes) == len(embeddings) == len(names)
