"""A file made ready for the catalogue: hashed, decoded, embedded, its tags read.

``prepare_file`` is what every worker runs, in this process, in one beside it
(``auditor.ingest.embedders``) or on another machine (``auditor.distributed``).  It stores nothing
and knows no catalogue, so the result is the same wherever it runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from threadpoolctl import threadpool_limits

from auditor.audio.files import FoundFile, hash_file, look_at, real_path
from auditor.audio.isolated import read_tags
from auditor.audio.object_store import fetched
from auditor.audio.tags import Tags
from auditor.catalogue.catalogue import FileStamp
from auditor.embedding.embed import EmbeddedFile, embed_file
from auditor.errors import AudioError, file_changed

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor


@dataclass(frozen=True)
class Prepared:
    """A file embedded before it is taken in.

    Attributes
    ----------
    stamp : FileStamp
        Of the file as it was embedded.
    sha256 : str
        Of its content, 64 hex digits.
    embedded : EmbeddedFile
    tags : Tags
    """

    stamp: FileStamp
    sha256: str
    embedded: EmbeddedFile
    tags: Tags


@dataclass(frozen=True)
class PreparedFile:
    """What became of a file; ``prepared`` or ``error`` is set, or its content is known already.

    Attributes
    ----------
    found : FoundFile
    sha256 : str
        Empty if the file could not be read.
    prepared : Prepared or None
    error : AudioError or OSError or None
    """

    found: FoundFile
    sha256: str = ""
    prepared: Prepared | None = None
    error: AudioError | OSError | None = None


class Embedder(Protocol):
    """What embeds files, here or elsewhere."""

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[PreparedFile]:
        """Yield what became of each file, in their order.

        Parameters
        ----------
        files : iterable of FoundFile
            Drawn from as the work proceeds.
        known : set of str
            Hashes of content that need not be embedded.
        """


class SerialEmbedder:
    """Embeds one file after the other in this process.

    Parameters
    ----------
    extractors : sequence of Extractor
    """

    def __init__(self, extractors: Sequence[Extractor]) -> None:
        self._extractors = tuple(extractors)

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[PreparedFile]:
        """See ``Embedder.embed``."""
        for found in files:
            with threadpool_limits(1, user_api="blas"):  # too small to share
                prepared = prepare_file(found, self._extractors, known=known)
            yield prepared


class PreparedFiles:
    """Files that are embedded already; others, and those changed since, are embedded now.

    Parameters
    ----------
    prepared : iterable of Prepared with their paths
        Path, real or not, as bytes, or URL.
    otherwise : Embedder
    """

    def __init__(self, prepared: Iterable[tuple[bytes, Prepared]], otherwise: Embedder) -> None:
        self._prepared = {real_path(path): one for path, one in prepared}
        self._otherwise = otherwise

    def embed(
        self, files: Iterable[FoundFile], *, known: Set[str] = frozenset()
    ) -> Generator[PreparedFile]:
        """See ``Embedder.embed``."""
        for found in files:
            one = self._prepared.get(real_path(found.path))
            if one and one.stamp == FileStamp.of(found):
                yield PreparedFile(found, one.sha256, one)
            else:
                yield from self._otherwise.embed([found], known=known)


def prepare_file(
    found: FoundFile, extractors: Sequence[Extractor], *, known: Set[str] = frozenset()
) -> PreparedFile:
    """Hash and embed a file and read its tags; what is wrong with it is told, not raised.

    Parameters
    ----------
    found : FoundFile
    extractors : sequence of Extractor
        All of one feature config.
    known : set of str
        Hashes of content that need not be embedded.
    """
    return read_file(found, lambda path: embed_file(path, extractors), known=known)


def read_file(
    found: FoundFile,
    make: Callable[[str | bytes | os.PathLike[str]], Any],
    *,
    known: Set[str] = frozenset(),
) -> PreparedFile:
    """Do what ``prepare_file`` does, with what ``make`` makes of the path in ``embedded``.

    An object is fetched once, and ``make`` is given the path of the copy.
    """
    sha256 = found.sha256
    try:
        with fetched(found.path, size=found.size) as path:
            sha256 = sha256 or hash_file(path)
            if sha256 in known:
                return PreparedFile(found, sha256)
            embedded = make(path)
            tags = read_tags(path)
        now = look_at(found.path)  # another machine may see another inode
        if (now.size, now.mtime_ns) != (found.size, found.mtime_ns):
            raise file_changed(found.path)
    except (AudioError, OSError) as error:
        return PreparedFile(found, sha256, error=error)
    return PreparedFile(found, sha256, Prepared(FileStamp.of(found), sha256, embedded, tags))
