"""Links from a page to the audio files of a catalogue; none lead to an object store.

A link is a relative URL, so that a folder that holds the page and the music can be moved as a whole
and names nobody's disk.
"""

from __future__ import annotations

import os
from urllib.parse import quote

from auditor.audio.object_store import is_object


def relative_link(path: str | os.PathLike[str] | bytes, folder: str | os.PathLike[str]) -> str:
    """Return the relative URL of a file from a folder, quoted (RFC 3986, section 2.1).

    Whatever a file is called, the URL has no scheme, no host, no query and no fragment.  Symbolic
    links are not followed: browsers take ``..`` as text, too.

    Parameters
    ----------
    path : path or bytes
        The file, which need not exist.
    folder : path
        Where the page lies.

    Returns
    -------
    str
        Printable ASCII, such as ``../music/one%20two.mp3``; empty for the URL of an object, which
        needs credentials that no page has.

    Examples
    --------
    >>> relative_link("/music/javascript:alert(1)?#.mp3", "/reports")
    '../music/javascript%3Aalert%281%29%3F%23.mp3'
    >>> relative_link("s3://bucket/one.mp3", "/reports")
    ''
    """
    if is_object(path):
        return ""
    return quote(os.path.relpath(os.fsencode(path), os.fsencode(folder) or b"."), safe="/")
