"""Which runner, with which of Beam's options, and whether it can run."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from .checks import Check, require
from .settings import Settings, beam_options


def _module(settings: Settings) -> Any:
    return importlib.import_module(f".{settings.runner}", __package__)


def beam_args(settings: Settings, given: Sequence[str]) -> list[str]:
    """Beam's flags for the settings; what was given wins.

    >>> beam_args(Settings(runner="spark", master="a:7077"), ["--job_name=x"])[:3]
    ['--runner=SparkRunner', '--spark_version=3', '--spark_master_url=spark://a:7077']
    """
    chosen: list[str] = _module(settings).beam_args(settings, given)
    return chosen


def checks(settings: Settings, args: Sequence[str]) -> list[Check]:
    """What the runner needs, given all of Beam's flags."""
    found: list[Check] = _module(settings).checks(settings, beam_options(args))
    return found


def prepare(settings: Settings, given: Sequence[str], **paths: str) -> list[str]:
    """Beam's flags, after all checks.

    Args:
      settings: Where it runs.
      given: Beam's flags of the user.
      **paths: By flag, what the workers must reach.

    Raises:
      UsageError: Something is missing; says what to do.
    """
    args = beam_args(settings, given)
    module = _module(settings)
    if hasattr(module, "check_paths"):
        module.check_paths(paths)
    if settings.runner != "direct":
        require(checks(settings, args))
    return args
