"""From shards to a trained, evaluated model; never imports Beam."""

from __future__ import annotations

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # TensorFlow takes seconds to import; `import train` alone should not.
    from .data import load

    return load
