"""`recordmill convert --estimate`: workers, time and bytes of a conversion on Dataflow.

A worker's core converts some 300 MB/s from memory to memory (tests/bench/bench_convert.py); what
bounds it there is the bucket. A core of a Google machine is promised 2 Gbit/s of network, which
reading and writing share: Google's documentation of machine types, 2026.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .settings import beam_options
from .sizes import format_size

if TYPE_CHECKING:
    from pipeline.plan import Plan

CONVERT_BYTES_PER_SECOND = 300e6
NETWORK_BYTES_PER_SECOND = 250e6
# From submission to the first record: machines start, and workers install or load an image.
START_SECONDS = 240
DEFAULT_MACHINE_CORES = 1  # n1-standard-1 is Dataflow's choice for a batch job
DEFAULT_MAX_WORKERS = 100
MINUTES_WORTH_A_WORKER = 2


@dataclass(frozen=True)
class Estimate:
    """What a conversion is expected to take.

    Attributes:
      workers: As many as have work for some minutes, up to --max_num_workers.
      seconds: From submission to the manifest.
    """

    workers: int
    cores: int
    seconds: float
    bytes_read: int
    bytes_written: int


def machine_cores(machine_type: str | None) -> int:
    """Virtual processors of a machine type.

    >>> machine_cores("n2-standard-8"), machine_cores("n1-custom-4-8192"), machine_cores(None)
    (8, 4, 1)
    """
    found = re.search(r"custom-(\d+)-|-(\d+)g?$", machine_type or "")
    return int(found[1] or found[2]) if found else DEFAULT_MACHINE_CORES


def estimate(plan: Plan, beam_args: Sequence[str]) -> Estimate:
    """Estimates a conversion on Dataflow with Beam's flags for machines and workers."""
    options = beam_options(beam_args)
    cores = machine_cores(options["machine_type"])
    # The input is read twice: for the records, and for its own SHA-256.
    bytes_read = 2 * sum(part.size_bytes for part in plan.source_files())
    bytes_written = plan.num_bytes
    moved = (bytes_read + bytes_written) / NETWORK_BYTES_PER_SECOND
    core_seconds = moved + bytes_written / CONVERT_BYTES_PER_SECOND
    shards = sum(split.num_shards for split in plan.splits)
    most = min(options["max_num_workers"] or DEFAULT_MAX_WORKERS, math.ceil(shards / cores))
    worth = math.ceil(core_seconds / cores / (60 * MINUTES_WORTH_A_WORKER))
    workers = max(1, min(most, worth))
    busy = min(workers * cores, shards)
    return Estimate(workers, cores, START_SECONDS + core_seconds / busy, bytes_read, bytes_written)


def describe_estimate(plan: Plan, beam_args: Sequence[str]) -> str:
    """The same as text."""
    told = estimate(plan, beam_args)
    minutes = math.ceil(told.seconds / 60)
    return (
        f"workers  {told.workers} of {told.cores} vCPU\n"
        f"time     about {minutes} minutes, {START_SECONDS // 60} of them until workers are up\n"
        f"read     {format_size(told.bytes_read)} (each input byte twice: records, checksums)\n"
        f"write    {format_size(told.bytes_written)}"
    )
