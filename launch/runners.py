"""Which runner, with which of Beam's options, and whether it can run."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .checks import Check, require
from .follow import follow, submission_error
from .settings import RUNNERS, Settings, beam_options, canonical, settings_from


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


@dataclass(frozen=True)
class Submission:
    """What a pipeline is run with.

    Attributes:
      beam_args: All of Beam's flags.
      wait: Waits for the end of a run.
    """

    beam_args: list[str]
    wait: Callable[[Any], str | None]


def _wait_until_finish(result: Any) -> str | None:
    state: str | None = result.wait_until_finish()
    return state


def prepare(args: argparse.Namespace, given: Sequence[str], **paths: str) -> Submission:
    """Beam's flags, after all checks.

    A runner that has no preset, such as PortableRunner, gets its name and the given flags alone.

    Args:
      args: The flags of `add_runner_arguments`.
      given: Beam's flags of the user.
      **paths: By flag, what the workers must reach.

    Raises:
      UsageError: Something is missing; says what to do.
    """
    if canonical(args.runner) not in RUNNERS:
        return Submission([f"--runner={args.runner}", *given], _wait_until_finish)
    settings = settings_from(args)
    chosen = beam_args(settings, given)
    if settings.runner == "direct":
        return Submission(chosen, _wait_until_finish)
    module = _module(settings)
    if settings.runner == "dataflow":
        module.check_paths(paths)
    require(checks(settings, chosen))
    if settings.runner != "dataflow":
        return Submission(chosen, _wait_until_finish)
    options = beam_options(chosen)
    wait = functools.partial(
        follow, project=options["project"], region=options["region"], no_wait=settings.no_wait
    )
    return Submission(chosen, wait)


@contextlib.contextmanager
def explained(args: argparse.Namespace) -> Iterator[None]:
    """Tells in plain words why Google refused a submission."""
    try:
        yield
    except Exception as error:
        if canonical(args.runner) != "dataflow":
            raise
        raise submission_error(error) from error
