"""The one place that imports torchaudio.

The torchaudio wheel on PyPI carries an extension compiled for CUDA builds of torch.  Beside a CPU
build its import fails on a missing CUDA library although the transforms used here are pure Python.
``transforms`` therefore retries the import with the extension declared absent, and only when torch
itself has no CUDA and the plain import failed on a library that cannot be loaded.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

from auditor.errors import AuditError

_EXTENSION = "torchaudio._extension"


def transforms() -> types.ModuleType:
    """Return ``torchaudio.transforms``.

    Raises
    ------
    AuditError
        If torchaudio is missing, or cannot be imported even without its compiled extension.
    """
    try:
        return importlib.import_module("torchaudio.transforms")
    except ModuleNotFoundError as error:
        if error.name != "torchaudio":
            raise
        raise AuditError("torchaudio is not installed. Run: pip install torchaudio") from None
    except (OSError, ImportError) as error:
        import torch

        if torch.version.cuda is not None:
            raise AuditError(f"torchaudio cannot be imported: {error}.") from error
    for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
        del sys.modules[name]
    sys.modules[_EXTENSION] = extension_stub()
    try:
        return importlib.import_module("torchaudio.transforms")
    except (OSError, ImportError) as error:
        del sys.modules[_EXTENSION]
        raise AuditError(
            f"torchaudio cannot be imported beside this CPU build of torch: {error}."
        ) from error


def extension_stub() -> types.ModuleType:
    """Return a stand-in for ``torchaudio._extension`` that says no extension is available."""

    def fail_if_no_align(function: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(f"{function.__name__} needs torchaudio's compiled extension")

        return fail

    stub = types.ModuleType(_EXTENSION)
    vars(stub).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=fail_if_no_align,
    )
    return stub
