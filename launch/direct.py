"""The runner on this machine: in memory for small work, in processes for large.

`pipeline.engine` chooses between the two by the bytes to be written; nothing is needed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from .checks import Check
from .settings import Settings


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags: none of ours are needed."""
    return list(given)


def checks(settings: Settings, options: Mapping[str, Any]) -> list[Check]:
    """What this machine offers."""
    return [Check("processors", str(os.cpu_count() or 1))]
