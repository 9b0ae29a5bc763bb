"""Music for training: groups that never meet, a part set aside."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.errors import UsageError
from auditor.training.dataset import (
    TrainingSet,
    gather_training_set,
    group_tracks,
    music_sha256,
    read_same_list,
    select_tracks,
    split_validation,
)
from auditor.training.genres import GenreSource
from auditor.training.sampling import SamplingPool, TrainingTracks


def tracks_of(groups: list[int]) -> TrainingTracks:
    n = range(len(groups))
    return TrainingTracks(
        tuple(f"frames {i}" for i in n),
        SamplingPool(
            moments=tuple([i] for i in n),
            labels=tuple(f"genre {i}" for i in n),
            groups=tuple(groups),
            albums=tuple(f"album {i}" for i in n),
        ),
    )


# Lists of tracks that share material


def test_read_same_list(tmp_path):
    path = tmp_path / "same.tsv"
    path.write_text("a\tb\tnote\nx/1.mp3\ty/2.mp3\tcover\n\nnächte.ogg\tz.mp3\n", encoding="utf-8")
    assert read_same_list(path) == [("x/1.mp3", "y/2.mp3"), ("nächte.ogg", "z.mp3")]


def test_an_empty_list_holds_nothing(tmp_path):
    path = tmp_path / "same.tsv"
    path.write_text("a\tb\n")
    assert read_same_list(path) == []


def test_a_list_that_cannot_be_used(tmp_path):
    path = tmp_path / "same.tsv"
    path.write_text("a\tb\n1.mp3\t2.mp3\nonly one\n")
    with pytest.raises(UsageError, match=r"same\.tsv, line 3: two columns of paths are needed"):
        read_same_list(path)
    path.write_bytes(b"a\tb\n\xff\t\xfe\n")
    with pytest.raises(UsageError, match=r"same\.tsv cannot be read: .*utf-8"):
        read_same_list(path)
    with pytest.raises(UsageError, match=r"gone\.tsv cannot be read: .*No such file"):
        read_same_list(tmp_path / "gone.tsv")


# Groups


def test_tracks_of_the_same_bytes_are_one_group():
    assert group_tracks(["a", "b", "c", "d"], ["x", "y", "x", "z"], []) == [0, 1, 0, 3]


def test_listed_tracks_are_one_group_and_groups_join():
    paths = ["/m/a/1.mp3", "/m/b/1.mp3", "/m/b/2.mp3", "/m/c/3.mp3", "/m/c/4.mp3"]
    hashes = list("abcde")
    same = [("b/1.mp3", "2.mp3"), ("/m/c/3.mp3", "b/2.mp3"), ("4.mp3", "gone.mp3")]
    assert group_tracks(paths, hashes, same) == [0, 1, 1, 1, 4]


def test_a_listed_name_matches_whole_parts_of_a_path_only():
    assert group_tracks(["/m/xa.mp3", "/m/b.mp3"], ["x", "y"], [("a.mp3", "b.mp3")]) == [0, 1]


@given(
    st.lists(st.sampled_from("abcdef"), max_size=12), st.lists(st.tuples(*[st.integers(0, 11)] * 2))
)
def test_groups_are_what_can_be_reached(hashes, links):
    paths = [f"/m/{i}" for i in range(len(hashes))]
    groups = group_tracks(paths, hashes, [(str(a), str(b)) for a, b in links])
    neighbours = {i: {i} for i in range(len(hashes))}
    for i in neighbours:
        neighbours[i] |= {j for j in neighbours if hashes[i] == hashes[j]}
    for a, b in links:
        if max(a, b) < len(hashes):
            neighbours[a].add(b)
            neighbours[b].add(a)
    for i in neighbours:
        reached, frontier = set(), [i]
        while frontier:
            k = frontier.pop()
            if k not in reached:
                reached.add(k)
                frontier += neighbours[k]
        assert groups[i] == min(reached)


# The part set aside


@given(st.lists(st.integers(0, 30), max_size=60), st.sampled_from([0.05, 0.1, 0.2, 0.5]))
def test_a_group_is_never_on_both_sides(groups, share):
    kept, held = split_validation(tracks_of(groups), share=share)
    assert set(kept.pool.groups).isdisjoint(held.pool.groups)
    assert sorted([*kept.frames, *held.frames]) == sorted(tracks_of(groups).frames)
    n_groups = len(set(groups))
    if n_groups >= 2 / share:
        n_held = len(set(held.pool.groups))
        assert n_held == n_groups // round(1 / share)
    if n_groups >= 4:
        assert len(set(held.pool.groups)) >= 2
        assert len(set(kept.pool.groups)) >= 2


def test_selected_tracks_keep_what_belongs_to_them():
    chosen = select_tracks(tracks_of([5, 6, 7]), [2, 0])
    assert chosen.frames == ("frames 2", "frames 0")
    assert chosen.pool == SamplingPool(
        moments=([2], [0]),
        labels=("genre 2", "genre 0"),
        groups=(7, 5),
        albums=("album 2", "album 0"),
    )


# All together


def test_gather_training_set(write_tune, tmp_path, tiny_config):
    for seed, name in enumerate(["rock/a/1.wav", "rock/b/2.wav", "jazz/3.wav"]):
        write_tune(f"m/{name}", seed, duration_s=4.0)
    copy = tmp_path / "m/jazz/4.wav"
    copy.write_bytes((tmp_path / "m/rock/a/1.wav").read_bytes())
    (tmp_path / "m/bad.mp3").write_text("hello")
    (tmp_path / "m/gone.mp3").symlink_to("nowhere")
    found = gather_training_set(
        [tmp_path / "m"],
        config=tiny_config,
        frames_dir=tmp_path / "frames",
        genres=GenreSource("top"),
        same=[("2.wav", "jazz/3.wav")],
    )
    # jazz/3, jazz/4, rock/a/1, rock/b/2
    pool = found.tracks.pool
    assert pool.labels == ("jazz", "jazz", "rock", "rock")
    assert pool.groups == (0, 1, 1, 0)
    assert [Path(album).name for album in pool.albums] == ["jazz", "jazz", "a", "b"]
    assert [m.tolist() for m in pool.moments] == [[80, 240]] * 4
    assert found.n_hours == pytest.approx(4 * 4.0 / 3600.0, abs=1e-3)
    files = sorted((tmp_path / "m").glob("**/*.wav"))
    hashes = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in files)
    assert found.sha256 == hashlib.sha256("".join(hashes).encode()).hexdigest()
    assert sorted(Path(s.path).name for s in found.skipped) == ["bad.mp3", "gone.mp3"]
    assert all(s.reason for s in found.skipped)


@pytest.mark.parametrize("kind", ["top", "list"])
def test_a_linked_folder_is_the_folder(write_tune, tmp_path, tiny_config, kind):
    write_tune("m/rock/live/1.wav", 1, duration_s=4.0)
    write_tune("m/jazz/live/2.wav", 2, duration_s=4.0)
    (tmp_path / "link").symlink_to("m")
    found = gather_training_set(
        [tmp_path / "link"],
        config=tiny_config,
        frames_dir=tmp_path / "frames",
        genres=GenreSource(kind, listed={"rock/": "rock", "jazz/": "jazz"}),
    )
    assert found.tracks.pool.labels == ("jazz", "rock")


def test_a_silent_track_has_no_moments(tmp_path, write_tune, tiny_config):
    write_tune("m/loud.wav", 1, duration_s=4.0)
    write_tune("m/silent.wav", 1, duration_s=4.0, level=0.0)
    write_tune("m/short.wav", 1, duration_s=1.0)
    found = gather_training_set(
        [tmp_path / "m"], config=tiny_config, frames_dir=tmp_path / "frames"
    )
    assert [len(m) for m in found.tracks.pool.moments] == [2, 0, 0]
    assert found.tracks.pool.labels == ("", "", "")  # no genres were asked for


def test_no_music_to_train_on(tmp_path, tiny_config):
    (tmp_path / "m").mkdir()
    (tmp_path / "m/bad.mp3").write_text("hello")
    for roots in ([tmp_path / "m"], []):
        with pytest.raises(
            UsageError, match=r"no audio that can be decoded. Give folders of music"
        ):
            gather_training_set(roots, config=tiny_config, frames_dir=tmp_path / "frames")


def test_the_hash_of_a_run_covers_all_it_hears():
    def made(sha256="a", groups=(0, 1), labels=("x", "y")) -> TrainingSet:
        pool = dataclasses.replace(tracks_of([0, 1]).pool, groups=groups, labels=labels)
        return TrainingSet(TrainingTracks((), pool), 1.0, sha256, ())

    def hashed(*sets, by_label=True) -> str:
        return music_sha256(sets, by_label=by_label)

    one = hashed(made(), made("b"))
    assert one == hashed(made(), made("b"))
    others = [
        hashed(made()),
        hashed(made("b"), made()),
        hashed(made("c"), made("b")),
        hashed(made(), made("c")),
        hashed(made(groups=(0, 0)), made("b")),
        hashed(made(), made("b", groups=(0, 0))),
        hashed(made(labels=("x", "x")), made("b")),
        hashed(made(), made("b", labels=("x", "x"))),
    ]
    assert len({one, *others}) == len(others) + 1
    assert hashed(made(), by_label=False) == hashed(made(labels=("z", "z")), by_label=False)
