"""Say what a machine lacks before anything is installed; needs nothing but a Python to run it.

::

    python3 .ci/preflight.py              # what is missing and what to install; exit code 1 if any
    python3 .ci/preflight.py --compiler   # the same, with what Annoy is built with, for the tests
    python3 .ci/preflight.py --packages   # only the names of all Debian packages, for .ci/run
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig

OLDEST = (3, 11)
COMPILERS = ("g++", "c++", "clang++")


def missing(*, compiler: bool) -> list[tuple[str, str]]:
    """Return what is missing: a sentence, and Debian's package for it (empty if there is none)."""
    version = "{}.{}".format(*sys.version_info)
    found = []
    if sys.version_info[:2] < OLDEST:
        needed = "{}.{}".format(*OLDEST)
        sentence = f"{sys.executable} is Python {version}; {needed} or later is needed"
        return [(f"{sentence}. Install one, then name it: make PYTHON=python{needed}", "")]
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        sentence = f"{sys.executable} has no venv or ensurepip, and audit is installed into .venv"
        found.append((sentence, f"python{version}-venv"))
    if not compiler:
        return found
    if not any(shutil.which(name) for name in COMPILERS):
        found.append(("there is no C++ compiler, and annoy is built from source", "g++"))
    headers = os.path.join(sysconfig.get_path("include"), "Python.h")
    if not os.path.exists(headers):
        sentence = f"Python's C headers are not installed ({headers}), and annoy is built with them"
        found.append((sentence, f"python{version}-dev"))
    return found


def main() -> int:
    """Print what is missing; return 1 if anything is."""
    found = missing(compiler=bool({"--compiler", "--packages"} & set(sys.argv[1:])))
    packages = [package for _, package in found if package]
    if "--packages" in sys.argv[1:]:
        print(" ".join(packages))
        return 0
    for sentence, _ in found:
        print(f"missing: {sentence}", file=sys.stderr)
    if packages:
        install = " ".join(packages)
        print(f"On Debian or Ubuntu, as root: apt-get install {install}", file=sys.stderr)
        print("Elsewhere, install the same things by their names there.", file=sys.stderr)
    if found:
        print("Then run make again.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
