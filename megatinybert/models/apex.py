"""Whether NVIDIA apex can be used here.

Nothing heavy is imported to find out, until the right package with its compiled parts has been found.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_PARTS = ("normalization", "optimizers")
_EXTENSIONS = ("fused_layer_norm_cuda", "amp_C")  # what setup.py --cuda_ext compiles, of which we use these


@dataclass(frozen=True)
class ApexState:
    """sentence: for people; what was found, and what to do where it cannot be used."""

    kind: Literal["missing", "unrelated", "without CUDA kernels", "usable"]
    sentence: str


def apex_state() -> ApexState:
    """What `import apex` would give this interpreter."""
    spec = importlib.util.find_spec("apex")
    if spec is None or spec.origin is None:  # no origin: a mere folder of that name, such as a clone that was not built
        return ApexState("missing", "NVIDIA apex is not installed; docs/apex.md says how to build it")
    folder = Path(spec.origin).parent
    package = f"apex{_version()} in {folder}"
    if not all((folder / part).is_dir() for part in _PARTS):
        return ApexState(
            "unrelated",
            f"{package} is not NVIDIA's: pip install apex gives a toolkit for the Pyramid web framework, which only "
            "shares the name; remove it with pip uninstall apex, and build NVIDIA's as docs/apex.md says",
        )
    try:
        importlib.import_module("torch")  # the extensions need its libraries loaded
        for name in (*_EXTENSIONS, *(f"apex.{part}" for part in _PARTS)):
            importlib.import_module(name)
    except Exception as error:  # a build for another torch fails in whatever way
        return ApexState(
            "without CUDA kernels",
            f"{package} is NVIDIA's, but its CUDA kernels cannot be loaded ({error}): build it again for this torch, "
            "with its C++ and CUDA extensions, as docs/apex.md says",
        )
    return ApexState("usable", f"{package} is NVIDIA's, with its CUDA kernels")


def _version() -> str:
    try:
        return f" {importlib.metadata.version('apex')}"
    except importlib.metadata.PackageNotFoundError:
        return ""
