"""Fetch the benchmark music: Debian packages unpacked below ``corpus/<role>/<package>/``.

The list is ``corpus.tsv`` beside this file (role, package, kind, tracks, hours, download size,
licence).  Packages are downloaded with ``apt-get download`` and unpacked with ``dpkg-deb -x``;
nothing is installed and root is not needed.  A package that is already unpacked is left alone, so
a killed run resumes.  Only the audio files and the copyright notes are kept.

Examples
--------
::

    python benchmarks/fetch_corpus.py corpus --role train --role val
    python benchmarks/fetch_corpus.py demo/music --package blobwars-data
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CORPUS_TSV = Path(__file__).with_name("corpus.tsv")
AUDIO_SUFFIXES = frozenset(
    ".mp3 .ogg .oga .opus .flac .wav .aif .aiff .m4a .aac .gsm .g722".split()
)
ARCHIVE_SUFFIXES = frozenset({".zip", ".pk3", ".love"})
"""Games keep their music in zip files under these names."""

MIN_TRACK_S = 15.0
"""Shorter files of a package are sound effects and jingles, not music."""

SKIPPED_KINDS = frozenset({"module"})
"""Tracker modules are scores, not recordings: they need a synthesiser the decoder lacks."""


def read_corpus(path: Path = CORPUS_TSV) -> list[dict[str, str]]:
    """Return the rows of the corpus list, modules left out."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row for row in rows if row["kind"] not in SKIPPED_KINDS]


def fetch_package(package: str, into: Path) -> int:
    """Download and unpack one package; return the number of audio files kept.

    Raises
    ------
    subprocess.CalledProcessError
        If apt cannot download the package or dpkg cannot unpack it.
    """
    done = into / ".complete"
    if done.exists():
        return int(done.read_text())
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(
            ["apt-get", "-q", "download", package], cwd=tmp, check=True, capture_output=True
        )
        (archive,) = Path(tmp).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), f"{tmp}/root"], check=True)
        for archive in sorted(Path(tmp, "root").rglob("*")):
            if archive.suffix.lower() in ARCHIVE_SUFFIXES and zipfile.is_zipfile(archive):
                unzip_audio(archive, archive.with_name(archive.name + ".d"))
        n_tracks = 0
        for source in sorted(Path(tmp, "root").rglob("*")):
            if not source.is_file() or source.is_symlink():
                continue
            if not source.suffix and is_ogg(source):
                source = source.rename(source.with_name(source.name + ".ogg"))
            is_audio = source.suffix.lower() in AUDIO_SUFFIXES and duration_s(source) >= MIN_TRACK_S
            if is_audio or source.name == "copyright":
                target = into / source.relative_to(Path(tmp, "root"))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(source, target)
                n_tracks += is_audio
    done.write_text(str(n_tracks))
    return n_tracks


def unzip_audio(archive: Path, into: Path) -> None:
    """Unpack the audio files of a zip archive; names that would leave ``into`` are sanitised."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if Path(member.filename).suffix.lower() in AUDIO_SUFFIXES:
                file.extract(member, into)


def is_ogg(path: Path) -> bool:
    """Whether a file begins as an Ogg stream does; some games leave the suffix out."""
    with path.open("rb") as file:
        return file.read(4) == b"OggS"


def duration_s(path: Path) -> float:
    """Duration that the container declares, or infinity if it declares none, in seconds."""
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            if not container.streams.audio:
                return 0.0
            stream = container.streams.audio[0]
            if stream.duration is not None:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration else float("inf")
    except av.FFmpegError:
        return 0.0


def folder_of(row: dict[str, str], args: argparse.Namespace) -> Path:
    """Return where a package is unpacked."""
    return args.into / (row["package"] if args.package else f"{row['role']}/{row['package']}")


def what_to_fetch(rows: list[dict[str, str]], args: argparse.Namespace) -> str:
    """Return in words how much is downloaded: what is complete is not fetched again."""
    new = [row for row in rows if not (folder_of(row, args) / ".complete").exists()]
    size_mb = sum(float(row["download_MB"] or 0) for row in new)
    minutes = size_mb * 8 / 50 / 60
    return (
        f"{len(new)} of {len(rows)} packages to download: {size_mb:,.0f} MB, "
        f"{minutes:.0f} min at 50 Mbit/s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("into", type=Path, help="folder to unpack into, for example corpus")
    parser.add_argument("--role", action="append", choices=["train", "val", "test"])
    parser.add_argument("--package", action="append", help="only these packages, role left out")
    parser.add_argument(
        "--max-download-mb", type=float, default=float("inf"), help="leave larger packages out"
    )
    args = parser.parse_args()
    rows = [
        row
        for row in read_corpus()
        if (not args.role or row["role"] in args.role)
        and (not args.package or row["package"] in args.package)
        and float(row["download_MB"] or 0) <= args.max_download_mb
    ]
    print(what_to_fetch(rows, args), file=sys.stderr, flush=True)
    n_tracks, missing = 0, []
    for row in rows:
        try:
            n = fetch_package(row["package"], folder_of(row, args))
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(row["package"])
            reason = getattr(error, "stderr", None) or str(error).encode()
            last = reason.decode(errors="replace").strip().splitlines()[-1:]
            print(f"{row['package']}: not fetched: {' '.join(last)}", file=sys.stderr)
            continue
        n_tracks += n
        print(f"{row['package']}: {n} tracks", file=sys.stderr)
    print(f"{n_tracks} tracks from {len(rows) - len(missing)} packages below {args.into}")
    return 1 if missing or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
