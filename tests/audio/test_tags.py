"""Tests of reading tags: every kind of tag, and files that mean harm."""

from __future__ import annotations

import dataclasses
import os
import random
import struct
import wave
from fractions import Fraction
from pathlib import Path

import av
import mutagen
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutagen import id3
from mutagen.apev2 import APEv2
from mutagen.mp4 import MP4FreeForm

from auditor.audio.tags import MAX_IDENTIFIERS, Tags, read_tags, standard_form
from auditor.errors import MAX_TEXT, clean_text

FULL = Tags(
    title="Títle <b>",
    artist="Artist",
    album="Album",
    genre="Rock",
    date="2011-02-03",
    licence="CC BY 4.0",
    record_label="A Label",
    identifiers=(
        "isrc:GBAYE0601498",
        "isrc:USRC17607839",
        "mb-recording:b1a9c0e9-d987-4042-ae91-78d6a3267d69",
        "acoustid:1c1b9a5e-4a1c-4f5c-8d2e-0a8c0a7a6f11",
        "iswc:T0345246801",
        "mb-release:f5093c06-23e3-404f-aeaa-40f72885ee3a",
    ),
)
RECORDING, ACOUSTID, RELEASE = (
    *("b1a9c0e9-d987-4042-ae91-78d6a3267d69", "1c1b9a5e-4a1c-4f5c-8d2e-0a8c0a7a6f11"),
    "F5093C06-23E3-404F-AEAA-40F72885EE3A",
)
ISRCS, ISWC = ["US-RC1-76-07839", "gbaye0601498", "none"], "T-034.524.680-1"
CODECS = {
    "mp3": "libmp3lame",
    "flac": "flac",
    "ogg": "vorbis",
    "opus": "libopus",
    "m4a": "aac",
    "aiff": "pcm_s16be",
    "wav": "pcm_s16le",
    "wv": "wavpack",
}


def make_audio(path: Path) -> Path:
    """Write half a second of noise without tags."""
    codec = CODECS[path.suffix[1:]]
    rng = np.random.default_rng(0)
    samples = (rng.normal(size=(1, 24000)) * 3000).astype(np.int16)
    experimental = {"strict": "experimental"}  # FFmpeg says so of its own Vorbis encoder
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="stereo", options=experimental)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
        resampler = av.AudioResampler(stream.format, "stereo", 48000, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    return path


def write_tags(path: Path) -> None:
    """Write ``FULL`` with each format's own fields."""
    file = mutagen.File(path)
    if path.suffix in (".mp3", ".wav", ".aiff"):
        if file.tags is None:
            file.add_tags()
        file.tags.add(id3.TIT2(encoding=3, text=[FULL.title, "second"]))
        file.tags.add(id3.TPE1(encoding=3, text=["", FULL.artist]))
        file.tags.add(id3.TALB(encoding=3, text=[FULL.album]))
        file.tags.add(id3.TCON(encoding=3, text=["(17)"]))
        file.tags.add(id3.TDRC(encoding=3, text=[FULL.date]))
        file.tags.add(id3.TCOP(encoding=3, text=["2011 somebody"]))
        file.tags.add(id3.TXXX(encoding=3, desc="LICENSE", text=[FULL.licence]))
        file.tags.add(id3.TPUB(encoding=3, text=[FULL.record_label]))
        file.tags.add(id3.TSRC(encoding=3, text=ISRCS))
        file.tags.add(id3.UFID(owner="http://musicbrainz.org", data=RECORDING.encode()))
        for name, value in (("Acoustid Id", ACOUSTID), ("ISWC", ISWC)):
            file.tags.add(id3.TXXX(encoding=3, desc=name, text=[value]))
        file.tags.add(id3.TXXX(encoding=3, desc="MusicBrainz Album Id", text=[RELEASE]))
    elif path.suffix == ".m4a":
        file["©nam"], file["©ART"], file["©alb"] = FULL.title, FULL.artist, FULL.album
        file["©gen"], file["©day"] = FULL.genre, FULL.date
        file["----:com.apple.iTunes:LICENSE"] = [MP4FreeForm(FULL.licence.encode())]
        file["cprt"] = "2011 somebody"
        named = {"LABEL": FULL.record_label, "ISWC": ISWC, "Acoustid Id": ACOUSTID}
        named |= {"MusicBrainz Track Id": RECORDING, "MusicBrainz Album Id": RELEASE}
        for name, value in named.items():
            file[f"----:com.apple.iTunes:{name}"] = [MP4FreeForm(value.encode())]
        file["----:com.apple.iTunes:ISRC"] = [MP4FreeForm(value.encode()) for value in ISRCS]
    else:
        for key, value in (("acoustid_id", ACOUSTID), ("iswc", ISWC), ("isrc", ISRCS)):
            file[key] = value
        file["musicbrainz_trackid"], file["musicbrainz_albumid"] = RECORDING, RELEASE
        for field in dataclasses.fields(FULL):
            if field.name in ("identifiers", "c2pa"):
                continue
            key = {"licence": "License", "record_label": "label"}.get(field.name, field.name)
            file[key] = [getattr(FULL, field.name), "second"]
        file["copyright"] = "2011 somebody"
    file.save()


@pytest.fixture(scope="module", params=[name for name in CODECS if name != "wv"])
def tagged(request, tmp_path_factory):
    path = make_audio(tmp_path_factory.mktemp("tags") / f"a.{request.param}")
    assert read_tags(path) == Tags()
    write_tags(path)
    return path


def test_every_kind_of_tag(tagged):
    assert read_tags(tagged) == FULL
    assert read_tags(os.fsencode(tagged)) == FULL


def test_files_cut_or_garbled_anywhere_never_raise(tagged, tmp_path):
    content = tagged.read_bytes()
    rng = random.Random(0)
    broken = tmp_path / f"broken{tagged.suffix}"
    for _ in range(60):
        damaged = bytearray(content[: rng.randrange(len(content))])
        for _ in range(rng.randrange(8)):
            if damaged:
                # Headers are where parsers go wrong.
                damaged[rng.randrange(min(len(damaged), 600))] = rng.randrange(256)
        broken.write_bytes(damaged)
        tags = read_tags(broken)
        *texts, identifiers, marks = dataclasses.astuple(tags)
        assert marks == (), "they are not of this reader"
        for value in (*texts, *identifiers):
            assert value == clean_text(value)
        for scheme, value in (identifier.split(":") for identifier in identifiers):
            assert standard_form(scheme, value) == value


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp3", b"this is text\n" * 100),
        ("a.mp3", b""),
        ("a.mp3", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + b"TIT2" * 50),
        ("a.flac", b"fLaC" + b"\xff" * 1000),
        ("a.ogg", b"OggS" + b"\x00" * 1000),
        ("a.m4a", struct.pack(">I", 8) + b"ftyp" + b"\xff" * 100),
        ("a.m4a", struct.pack(">I4s", 16, b"ftyp") + b"M4A \0\0\0\0" + b"\0\0\0\x08moov" * 900),
        ("a.wav", b"RIFF\xff\xff\xff\xffWAVEid3 \xff\xff\xff\xff"),
    ],
)
def test_files_that_mutagen_cannot_read_have_no_tags(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    assert read_tags(file) == Tags()


def test_a_file_that_has_gone_has_no_tags(tmp_path):
    assert read_tags(tmp_path / "none.mp3") == Tags()
    assert read_tags(tmp_path) == Tags()


def test_names_that_are_not_unicode(tmp_path):
    path = make_audio(tmp_path / "a.flac")
    write_tags(path)
    odd = os.fsencode(tmp_path) + b"/\xff\n.flac"
    os.rename(path, odd)
    assert read_tags(odd) == FULL


def test_values_are_cleaned(tmp_path):
    path = make_audio(tmp_path / "a.mp3")
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    file.tags.add(id3.TIT2(encoding=3, text=["\x01\u202ea\nb\x1b[31m<script>"]))
    file.tags.add(id3.TPE1(encoding=3, text=["x" * 100_000]))
    file.tags.add(id3.WCOP(url="https://creativecommons.org/licenses/by/4.0/"))
    file.save()
    tags = read_tags(path)
    assert tags.title == "a b[31m<script>"
    assert tags.artist == "x" * MAX_TEXT
    assert tags.licence == "https://creativecommons.org/licenses/by/4.0/"


def test_identifiers_of_apev2_are_read(tmp_path):
    path = make_audio(tmp_path / "a.wv")
    tags = APEv2()
    tags["ISRC"], tags["MUSICBRAINZ_TRACKID"] = ISRCS, RECORDING
    tags["Label"] = "A Label"
    tags.save(path)
    assert read_tags(path) == Tags(identifiers=FULL.identifiers[:3], record_label="A Label")


def test_identifiers_are_bounded_and_what_is_none_is_left_out(tmp_path):
    path = make_audio(tmp_path / "a.flac")
    file = mutagen.File(path)
    file["isrc"] = [f"USRC1{n:07}" for n in range(1, 5000)]
    file["iswc"] = ["T-034.524.680-2", "x" * 1_000_000]
    file["musicbrainz_trackid"] = ["00000000-0000-0000-0000-000000000000", f"{RECORDING}x"]
    file.save()
    found = read_tags(path).identifiers
    assert len(found) == MAX_IDENTIFIERS
    assert found[0] == "isrc:USRC10000001"


@given(st.sampled_from(["isrc", "iswc", "acoustid"]), st.text(st.characters(), max_size=60))
def test_the_standard_form_of_a_standard_form_is_itself(scheme, text):
    form = standard_form(scheme, text)
    assert not form or standard_form(scheme, form) == form
    assert form.isascii()


def test_the_copyright_line_stands_in_for_a_licence(tmp_path):
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    assert read_tags(path) == Tags()
    tagged = mutagen.File(path)
    tagged.add_tags()
    tagged.tags.add(id3.TCOP(encoding=3, text=["2011 somebody"]))
    tagged.save()
    assert read_tags(path) == Tags(licence="2011 somebody")


@given(st.text(st.characters(), max_size=700))
def test_clean_text_is_stable_printable_unicode(text):
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert len(clean) <= MAX_TEXT
    clean.encode("utf-8")
    assert not set(clean) & set(map(chr, range(32)))


def test_clean_text_joins_pairs_of_surrogates_and_replaces_lone_ones():
    assert clean_text("\ud83d\ude00 \udcff") == "\U0001f600 \ufffd"
