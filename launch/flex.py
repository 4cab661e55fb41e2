"""The Dataflow flex template: the metadata of its parameters, and what they stand for.

    python -m launch.flex > launch/dataflow/metadata.json

The parameters are the flags of `recordmill convert`, so they cannot drift; a test compares.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.errors import UsageError

from . import convert

IMAGE = "RECORDMILL_IMAGE"
# They make no sense where the template is launched from a form.
LEFT_OUT = {"help", "runner", "master", "environment", "no_wait", "dry_run", "estimate", "staging"}
TRUE, FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


def _actions() -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    return [action for action in parser._actions if action.dest not in LEFT_OUT]


def _is_switch(action: argparse.Action) -> bool:
    return action.nargs == 0


def _parameter(action: argparse.Action) -> dict[str, Any]:
    text = " ".join((action.help or "").split())
    hint = f" ({action.metavar})" if isinstance(action.metavar, str) else ""
    parameter: dict[str, Any] = {
        "name": action.dest,
        "label": action.dest.replace("_", " "),
        "helpText": f"{text}{hint}" or action.dest,
        "isOptional": not action.required,
        "paramType": "BOOLEAN" if _is_switch(action) else "TEXT",
    }
    if action.dest in ("input", "output"):
        parameter["regexes"] = ["^gs://.+"]
    return parameter


def metadata() -> str:
    """The content of `metadata.json`."""
    value = {
        "name": "recordmill convert",
        "description": "Raw IDX records to sharded TFRecords",
        "parameters": [_parameter(action) for action in _actions()],
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def arguments(parameters: Sequence[str]) -> list[str]:
    """The command line that a launcher's parameters stand for; the others are Beam's.

    >>> arguments(["--input=gs://b/raw", "--overwrite=true", "--prime=false"])[1:]
    ['--input=gs://b/raw', '--overwrite', '--runner=dataflow', '--no_wait']

    Raises:
      UsageError: A switch is neither true nor false.
    """
    switches = {action.dest for action in _actions() if _is_switch(action)}
    line = ["convert"]
    for parameter in parameters:
        name, equals, value = parameter.removeprefix("--").partition("=")
        if name not in switches or not equals:
            line.append(parameter)
        elif value.lower() in TRUE:
            line.append(f"--{name}")
        elif value.lower() not in FALSE:
            raise UsageError(f"{name}: found {value!r}, wanted true or false")
    image = os.environ.get(IMAGE)
    if image and not any(part.startswith(("--image=", "--sdk_container_image")) for part in line):
        line.append(f"--image={image}")
    # The launcher's time is short: it must not wait for the job.
    return [*line, "--runner=dataflow", "--no_wait"]


if __name__ == "__main__":
    sys.stdout.write(metadata())
