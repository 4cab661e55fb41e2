"""Runs a Beam pipeline: which local engine, and its errors in plain words.

Beam's DirectRunner takes Prism where the network allows its download, and ignores how many workers
were asked for; so on one machine the FnApiRunner is taken by its name: in memory for small work,
in processes for large. `multi_threading` is refused: with Beam 2.77 it lost records in 9 of 9 runs
and ended with state DONE.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)

from . import errors

LOCAL_RUNNERS = (None, "", "DirectRunner", "direct", "FnApiRunner")
# Worker processes cost some 3 s to start, and one process converts about 1 GB/s.
PROCESSES_FROM_BYTES = 3 << 30
# What a DoFn raises comes back as text: a traceback, and the stage in brackets behind it.
RAISED = re.compile(
    r"pipeline\.errors\.(\w+): (.*?)(?: \[while running [^\]]*\]|\Z|\n(?=Traceback|\n))", re.DOTALL
)
# What the system said, outside of what our own hands write: in Beam's file systems, say.
SYSTEM = re.compile(r"\[Errno \d+\] (.*?)(?: \[while running|\n|$)")
# Prism gives up when a worker's process ends: killed, or out of memory.
LOST = re.compile(r"SDK worker disconnected: [^,\n]*|worker stopped before receive")
STAGE = re.compile(r" \[while running '[^']*'\]$")


def make_options(args: Sequence[str], work_bytes: int, parallel: int) -> PipelineOptions:
    """Beam's options, with the local engine chosen where the user left it open.

    Args:
      args: Beam flags; what they say wins.
      work_bytes: Bytes to be written.
      parallel: Most workers that can have something to do.

    Raises:
      UsageError: The mode that loses records was asked for.
    """
    options = PipelineOptions(list(args))
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode == "multi_threading":
        raise errors.UsageError(
            "--direct_running_mode=multi_threading loses records without a word in Beam 2.77 (300 "
            "to 600 of 100,000 in 9 of 9 runs); use multi_processing or in_memory"
        )
    if is_local(options):
        chosen = any(a.startswith(("--direct_running_mode", "--direct_num_workers")) for a in args)
        workers = min(os.cpu_count() or 1, parallel)
        if not chosen and work_bytes >= PROCESSES_FROM_BYTES and workers > 1:
            direct.direct_running_mode = "multi_processing"
            direct.direct_num_workers = workers
        # The classes that travel are in installed modules; nothing of __main__ is needed.
        options.view_as(SetupOptions).save_main_session = False
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the pipeline runs in this machine's own engine."""
    return options.view_as(StandardOptions).runner in LOCAL_RUNNERS


def _runner(options: PipelineOptions) -> Any:
    if not is_local(options):
        return None  # Beam finds it by the options
    from apache_beam.portability.api import beam_provision_api_pb2
    from apache_beam.runners.portability.fn_api_runner import fn_runner
    from apache_beam.runners.portability.portable_runner import JobServiceHandle

    # Without this, options such as an object store's endpoint would not reach worker processes.
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    return fn_runner.FnApiRunner(
        provision_info=fn_runner.ExtendedProvisionInfo(
            beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
        )
    )


Wait = Callable[[Any], str | None]


def wait_until_finish(result: Any) -> str | None:
    """Waits for the end of a run; its state."""
    state: str | None = result.wait_until_finish()
    return state


def run(
    build: Callable[[beam.Pipeline], None],
    options: PipelineOptions,
    wait: Wait = wait_until_finish,
) -> Any:
    """Builds a pipeline, runs it and waits for its end.

    Args:
      build: Applies transforms to an empty pipeline.
      options: Beam's.
      wait: Given what Beam gives for a run, waits and gives the state that it ended with.

    Raises:
      RecordmillError: As a stage raised it, or what the runner said when it failed.
    """
    pipeline = beam.Pipeline(runner=_runner(options), options=options)
    try:
        build(pipeline)
        state = wait(result := pipeline.run())
    except errors.RecordmillError as error:
        # Beam writes the stage behind the message; it tells a user nothing.
        raise type(error)(STAGE.sub("", str(error))) from error
    except Exception as error:
        raise translate(error) from error
    if state not in ("DONE", None):
        raise errors.OutputError(f"the runner ended with state {state}; see its log for the cause")
    return result


def translate(error: BaseException) -> BaseException:
    r"""The error of ours that stands in a runner's message, or the runner's error as it is.

    >>> translate(RuntimeError("Traceback …\npipeline.errors.InputError: a.idx: not IDX"))
    InputError('a.idx: not IDX')
    >>> translate(RuntimeError("OSError: [Errno 28] Full [while running 'Write']"))
    OutputError('Full; mend that and start the same command again: what is finished is kept')
    """
    found = RAISED.findall(str(error))
    if not found:
        system = SYSTEM.findall(str(error))
        lost = LOST.findall(str(error))
        if not system and not lost:
            return error
        what = (
            f"{system[-1]}; mend that and" if system else f"the engine lost a worker ({lost[-1]});"
        )
        return errors.OutputError(f"{what} start the same command again: what is finished is kept")
    name, message = found[-1]
    kind: type[BaseException] = getattr(errors, name, errors.RecordmillError)
    return kind(message.strip())


def counters(result: Any) -> dict[str, int]:
    """Sums of this package's Beam counters, by name; empty where a runner reports none."""
    sums: dict[str, int] = {}
    for metric in result.metrics().query()["counters"]:
        name = metric.key.metric.name
        if metric.key.metric.namespace == "recordmill":
            sums[name] = sums.get(name, 0) + (metric.committed or metric.attempted or 0)
    return sums
