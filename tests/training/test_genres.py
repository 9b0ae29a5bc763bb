"""The genre of a file: tags, FMA, folders, a list; and the genres of the benchmark's corpus."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from auditor.audio.fma_tags import load_fma
from auditor.cli import app
from auditor.embedding import extractor as extractor_module
from auditor.embedding.extractor import load_extractor
from auditor.errors import UsageError
from auditor.training.genres import GENRE_SOURCES, GenreSource, genre_label, read_genre_list

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FMA_GENRES = """genre_id,#tracks,parent,title,top_level
12,32923,0,Rock,12
21,12730,0,Hip-Hop,21
25,9261,12,Punk,12
89,1858,25,Post-Punk,12
"""


def write_fma(folder: Path, genres_of: dict[int, tuple[str, str]]) -> Path:
    """Write FMA's tables for tracks of (top-level genre, genre ids)."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "tracks.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", "track", "artist", "track", "track"])
        writer.writerow(["", "title", "name", "genre_top", "genres"])
        writer.writerow(["track_id", "", "", "", ""])
        for number, (top, ids) in genres_of.items():
            writer.writerow([number, f"Title {number}", "Artist", top, ids])
    (folder / "genres.csv").write_text(FMA_GENRES)
    return folder


# Folders and tags


@pytest.mark.parametrize(
    ("path", "kind", "label"),
    [
        ("/m/rock/x/1.mp3", "parent", "x"),
        ("/m/rock/x/1.mp3", "top", "rock"),
        ("/m/1.mp3", "top", "m"),
        ("/other/y/1.mp3", "top", "y"),
        ("/given/z/1.mp3", "top", "z"),
    ],
)
def test_the_genre_is_a_folder(path, kind, label):
    roots = [Path("/given/z/1.mp3"), Path("/m")]
    assert genre_label(Path(path), roots, GenreSource(kind)) == label


def test_the_genre_is_a_tag(write_tune):
    import mutagen

    path = write_tune("a.flac", 1, codec="flac", duration_s=0.5)
    assert genre_label(path, [], GenreSource("tag")) == ""
    file = mutagen.File(path)
    file["GENRE"] = " Acid Jazz "
    file.save()
    assert genre_label(path, [], GenreSource("tag")) == "acid jazz"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("mood", f"kind is 'mood'; it must be one of {', '.join(GENRE_SOURCES)}"),
        ("fma", "kind is 'fma'; FMA metadata is needed"),
        ("fma-leaf", "kind is 'fma-leaf'; FMA metadata is needed"),
        ("list", "kind is 'list'; a list of genres is needed"),
    ],
)
def test_a_genre_from_nowhere(kind, message):
    with pytest.raises(ValueError, match=message):
        GenreSource(kind)


# FMA


@pytest.mark.parametrize(
    ("path", "top", "leaf"),
    [
        ("fma/000/000002.mp3", "Hip-Hop", "Hip-Hop"),
        ("fma/000/000003.mp3", "Rock", "Post-Punk"),
        ("fma/000/000005.mp3", "Rock", "Punk"),  # no top-level genre: the first one listed
        ("fma/000/000007.mp3", "", ""),  # no genre at all
        ("fma/000/000009.mp3", "", ""),  # not in the tables
        ("fma/000/other.mp3", "", ""),
    ],
)
def test_the_genre_is_fmas(tmp_path, path, top, leaf):
    tables = {
        2: ("Hip-Hop", "[21]"),
        3: ("Rock", "[21, 25, 89]"),
        5: ("", "[25, 21]"),
        7: ("", "[]"),
    }
    fma = load_fma(write_fma(tmp_path, tables))
    assert genre_label(Path(path), [], GenreSource("fma", fma=fma)) == top
    assert genre_label(Path(path), [], GenreSource("fma-leaf", fma=fma)) == leaf


def test_a_set_of_fmas_shape_is_trained_on(tmp_path, write_tune, monkeypatch):
    monkeypatch.chdir(tmp_path)
    leaves = {"[21]": "Hip-Hop", "[25]": "Rock", "[89]": "Rock"}
    genres_of = {n: (leaves[ids], ids) for n, ids in enumerate(list(leaves) * 4)}
    for number in genres_of:
        write_tune(f"fma_small/000/{number:06d}.wav", number, duration_s=5.0)
        (tmp_path / f"fma_small/000/{number:06d}.wav").rename(
            tmp_path / f"fma_small/000/{number:06d}.mp3"
        )
    write_fma(tmp_path / "fma_metadata", genres_of)
    # A part held out of twelve tracks would hold one genre, so they validate on themselves.
    common = ("--classes", "genre", "--fma", "fma_metadata", "--validation", "fma_small")
    small = ("--batch-classes", 2, "--batch-utterances", 2, "--steps", 2, "--evaluate-every", 1)
    for more, genres in (
        ((), {"Rock": 8, "Hip-Hop": 4}),
        (("--genre-from", "fma-leaf"), {"Hip-Hop": 4, "Post-Punk": 4, "Punk": 4}),
    ):
        name = ("--name", f"genre{len(genres)}")
        command = ("train", "fma_small", *common, *small, *more, *name)
        result = CliRunner().invoke(app, [str(part) for part in command])
        assert result.exit_code == 0, result.output
        assert f"12 tracks, 0.02 hours; 12 of them in {len(genres)} genres" in result.stderr
        extractor = load_extractor(result.stdout.strip())
        assert extractor.summary["classes"] == "genre"
        assert extractor.summary["data"]["genres"] == genres


# Lists


def test_the_genre_is_listed():
    listed = {"game/": "pop", "game/music/": "rock", "game/music/Chopin": "piano", "music2": "jazz"}
    source = GenreSource("list", listed=listed)

    def label(path: str) -> str:
        return genre_label(Path(path), [Path("/home/game")], source)

    assert label("/home/game/game/1.mp3") == "pop"
    assert label("/home/game/game/music/1.mp3") == "rock"
    assert label("/home/game/x/game/music/Chopin 1.mp3") == "piano"  # from any folder on
    assert label("/home/game/game/music2/1.mp3") == "jazz"  # longer than "game/"
    assert label("/home/game/a game/1.mp3") == ""  # whole names only, from the left
    assert label("/home/game/1.mp3") == ""  # what lies above the walked folder does not count
    assert label("/elsewhere/game/1.mp3") == "pop"  # a file that was given itself


@settings(deadline=None)
@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=5), st.integers(0, 4))
def test_a_listed_start_counts_from_any_folder_on(parts, first):
    first = min(first, len(parts) - 1)
    source = GenreSource("list", listed={"/".join(parts[first:]): "found"})
    assert genre_label(Path("/m", *parts, "1.mp3"), [Path("/m")], source) == "found"


def test_read_genre_list(tmp_path):
    path = tmp_path / "genres.tsv"
    path.write_text(
        'path\tgenre\twhy\n/a/\tRock "n" Roll\tits tag\n\nb/näch\t jazz \n', encoding="utf-8"
    )
    assert read_genre_list(path) == {"a/": 'Rock "n" Roll', "b/näch": "jazz"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\tgenre\na/\n", r"genres\.tsv, line 2: the start of a path and a genre are needed"),
        ("path\tgenre\na/\tx\n/\ty\n", "line 3: the start of a path and a genre are needed"),
        ("path\tgenre\na/\tx\n\na/\ty\n", "line 4: a/ appears twice. Keep one"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "genres.tsv"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_genre_list(path)


def test_a_list_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.tsv cannot be read: .*No such file"):
        read_genre_list(tmp_path / "gone.tsv")
    (tmp_path / "bytes.tsv").write_bytes(b"path\tgenre\n\xff\t\xfe\n")
    with pytest.raises(UsageError, match=r"bytes\.tsv cannot be read: .*utf-8"):
        read_genre_list(tmp_path / "bytes.tsv")


def test_training_on_a_list_of_genres(tmp_path, write_tune, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in range(9):
        write_tune(f"m/{'abc'[seed % 3]}/{seed}.wav", seed, duration_s=5.0)
    (tmp_path / "genres.tsv").write_text("path\tgenre\na/\tone\nb/\ttwo\n")
    command = "train m --validation m --classes genre --genres genres.tsv --steps 1"
    sizes = "--batch-classes 2 --batch-utterances 3"
    result = CliRunner().invoke(app, f"{command} {sizes}".split())
    assert result.exit_code == 0, result.output
    assert "9 tracks, 0.01 hours; 6 of them in 2 genres" in result.stderr
    summary = load_extractor(result.stdout.strip()).summary
    assert summary["data"]["genres"] == {"one": 3, "two": 3}
    json.dumps(summary)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--genre-from", "fma-leaf"], "--genre-from fma-leaf needs FMA's tables. Give --fma DIR."),
        (["--genre-from", "list"], "--genre-from list needs a list of genres. Give --genres FILE."),
        (["--genres", "gone.tsv"], "gone.tsv cannot be read"),
    ],
)
def test_train_without_its_genres(tmp_path, arguments, message):
    result = CliRunner().invoke(app, ["train", str(tmp_path), "--classes", "genre", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr


# The corpus


def test_the_corpus_list_names_its_packages():
    listed = read_genre_list(BENCHMARKS / "genres.tsv")
    with open(BENCHMARKS / "corpus.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    role_of = {row["package"]: row["role"] for row in rows if row["kind"] == "audio"}
    roles: dict[str, set[str]] = {}
    for start, genre in listed.items():
        roles.setdefault(genre, set()).add(role_of[start.split("/")[0]])
    assert all(len(found) == 1 for found in roles.values()), "no class is heard in two roles"
    assert {role for found in roles.values() for role in found} == {"train", "val", "test"}
    untold = {p for p, role in role_of.items() if role != "train"}
    assert untold == {s.split("/")[0] for s in listed if role_of[s.split("/")[0]] != "train"}


def test_the_shipped_extractor_was_trained_on_that_list():
    extractor = load_extractor("genre")
    listed = set(read_genre_list(BENCHMARKS / "genres.tsv").values())
    assert extractor.summary["classes"] == "genre"
    assert set(extractor.summary["data"]["genres"]) <= listed
    card = (Path(extractor_module.__file__).parents[1] / "pretrained/CARD.md").read_text("utf-8")
    assert f"genre-{extractor.weights_id}.safetensors" in card
    assert extractor.summary["data"]["sha256"] in card
