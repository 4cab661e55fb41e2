"""The plain options of all runners; each runner's module turns them into Beam's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import UsageError

RUNNERS = ("direct", "prism", "flink", "spark", "dataflow")
# Options that mean nothing to a runner are refused, not passed over.
KNOWN: dict[str, tuple[str, ...]] = {
    "direct": (),
    "prism": ("environment", "image"),
    "flink": ("master", "environment", "image"),
    "spark": ("master", "environment", "image"),
    "dataflow": ("staging", "image", "prime", "no_wait"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where a pipeline runs.

    Attributes:
      runner: One of RUNNERS.
      master: Address of a Flink or Spark cluster.
      environment: Where the Python workers of Prism, Flink and Spark run: "loopback" in this
        process, "process" in processes that the engine starts ("process:PROGRAM" with a boot
        program of one's own), "docker" in containers of `image`, or "pool:HOST:PORT".
      image: The workers' container image.
      staging: A folder of a bucket for what Dataflow stages.
      prime: Dataflow Prime sizes the workers.
      no_wait: Submit and leave.
    """

    runner: str = "direct"
    master: str | None = None
    environment: str | None = None
    image: str | None = None
    staging: str | None = None
    prime: bool = False
    no_wait: bool = False

    def __post_init__(self) -> None:
        """Checks that each option means something to the runner."""
        if self.runner not in RUNNERS:
            raise UsageError(f"runner {self.runner!r}: wanted {', '.join(RUNNERS)}")
        for field in fields(self)[1:]:
            if getattr(self, field.name) and field.name not in KNOWN[self.runner]:
                having = [name for name, known in KNOWN.items() if field.name in known]
                raise UsageError(
                    f"--{field.name} means nothing to the {self.runner} runner, only to "
                    f"{' and '.join(having)}"
                )


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say where the pipeline runs."""
    add = parser.add_argument_group("where it runs (Beam's own flags win)").add_argument
    add("--runner", default="direct", metavar="NAME", help=f"{', '.join(RUNNERS)}; default direct")
    add("--master", metavar="HOST:PORT", help="flink, spark: the cluster")
    add(
        "--environment",
        metavar="loopback|process|docker|pool:HOST:PORT",
        help="prism, flink, spark: where Python runs; default loopback, or docker with --image",
    )
    add("--image", help="prism, flink, spark, dataflow: container image of the workers")
    add("--staging", metavar="gs://…", help="dataflow: a folder for what is staged")
    add("--prime", action="store_true", help="dataflow: Prime sizes the workers")
    add("--no_wait", action="store_true", help="dataflow: submit and leave")


def canonical(runner: str) -> str:
    """Our name of a runner, also for Beam's names of those that we know.

    >>> canonical("FlinkRunner"), canonical("Direct"), canonical("PortableRunner")
    ('flink', 'direct', 'PortableRunner')
    """
    short = runner.lower().removesuffix("runner")
    if short == "fnapi":
        return "direct"
    return short if short in RUNNERS else runner


def settings_from(args: argparse.Namespace) -> Settings:
    """What the flags of `add_runner_arguments` say."""
    names = [field.name for field in fields(Settings)]
    values = {name: getattr(args, name) for name in names}
    return Settings(**{**values, "runner": canonical(args.runner)})


def beam_options(beam_args: Sequence[str]) -> dict[str, Any]:
    """What Beam makes of its flags, defaults included."""
    from apache_beam.options.pipeline_options import PipelineOptions

    options: dict[str, Any] = PipelineOptions(list(beam_args)).get_all_options()
    return options
