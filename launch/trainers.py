"""The hand-over to the trainer when the pipeline is done: where it runs, and with which words."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import files
from pipeline.errors import RecordmillError, UsageError

from . import train

TRAINERS = ("local", "docker", "vertex", "command")
FIELDS = ("data", "model_dir", "args")
# Written when a trainer has ended well; `--skip_if_done` reads it.
DONE = "trained.json"
INSIDE_DATA, INSIDE_MODEL = "/mnt/data", "/mnt/model"


class TrainerError(RecordmillError):
    """The trainer ended badly; the dataset is as it should be."""


def add_trainer_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `recordmill run` for the trainer's place."""
    add = parser.add_argument_group("where the trainer runs").add_argument
    add("--trainer", default="local", choices=TRAINERS, help="default local: in this process")
    add("--trainer_image", metavar="IMAGE", help="docker, vertex: see launch/train/Dockerfile")
    add("--trainer_gpus", type=int, default=1, metavar="N", help="docker, vertex; default 1")
    add("--trainer_machine", default="n1-standard-8", metavar="TYPE", help="vertex")
    add("--trainer_accelerator", default="NVIDIA_TESLA_T4", metavar="TYPE", help="vertex")
    add(
        "--trainer_command",
        metavar="TEMPLATE",
        help="command: for the shell, such as 'ssh gpu recordmill train {args}'; also {data} and "
        "{model_dir}",
    )
    add(
        "--skip_if_done",
        action="store_true",
        help="train nothing where --model_dir holds what these flags made of this dataset",
    )


def check(args: argparse.Namespace) -> None:
    """Checks the trainer's flags before the pipeline runs.

    Raises:
      UsageError: One is missing, or paths that the trainer cannot reach.
    """
    if args.trainer in ("docker", "vertex") and not args.trainer_image:
        raise UsageError(
            f"--trainer {args.trainer}: give --trainer_image, such as what "
            "launch/train/Dockerfile makes"
        )
    if args.trainer_gpus < 0:
        raise UsageError(f"--trainer_gpus {args.trainer_gpus}: wanted 0 or more")
    if args.trainer == "command":
        _fill(args.trainer_command, dict.fromkeys(FIELDS, ""))
    elif args.trainer_command:
        raise UsageError("--trainer_command goes with --trainer command")
    if args.trainer == "vertex":
        for flag in ("output", "model_dir"):
            if not getattr(args, flag).startswith("gs://"):
                raise UsageError(
                    f"--{flag} {getattr(args, flag)}: Vertex AI does not see this machine's disk; "
                    f"give --{flag} gs://…"
                )


def _fill(template: str | None, values: Mapping[str, str]) -> str:
    wanted = ", ".join(f"{{{field}}}" for field in FIELDS)
    if not template:
        raise UsageError(f"--trainer command: give --trainer_command, with {wanted} in it")
    try:
        return template.format(**values)
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"--trainer_command: {error} is no field; there is {wanted}; double other braces"
        ) from error


def training_arguments(args: argparse.Namespace, data: str, model_dir: str) -> list[str]:
    """The flags of `recordmill train` that say what `args` say, beside defaults."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    line = [f"--data={data}", f"--model_dir={model_dir}"]
    for action in parser._actions:
        value = getattr(args, action.dest, None)
        if action.dest in ("help", "data", "model_dir", "overwrite") or value == action.default:
            continue
        line.append(f"--{action.dest}" if action.nargs == 0 else f"--{action.dest}={value}")
    return line


def docker_command(args: argparse.Namespace, data: str) -> list[str]:
    """The command that trains in a container of this machine, as this user."""
    command = ["docker", "run", "--rm", f"--user={os.getuid()}:{os.getgid()}", "--ipc=host"]
    if args.trainer_gpus:
        command.append(f"--gpus={args.trainer_gpus}")
    inside = []
    for path, place, mode in ((data, INSIDE_DATA, ":ro"), (args.model_dir, INSIDE_MODEL, "")):
        if files.is_local(path):
            command.append(f"--volume={os.path.abspath(path)}:{place}{mode}")
        inside.append(place if files.is_local(path) else path)
    return [*command, args.trainer_image, *training_arguments(args, inside[0], inside[1])]


def shell_command(args: argparse.Namespace, data: str) -> str:
    """The user's own command, with its fields filled in and quoted for the shell."""
    line = training_arguments(args, data, args.model_dir)
    values = {
        "data": shlex.quote(data),
        "model_dir": shlex.quote(args.model_dir),
        "args": shlex.join(line),
    }
    return _fill(args.trainer_command, values)


def _identity(args: argparse.Namespace, digest: str) -> dict[str, Any]:
    return {"dataset_digest": digest, "arguments": training_arguments(args, "-", "-")}


def is_done(args: argparse.Namespace, digest: str) -> bool:
    """Whether --model_dir holds what these flags made of a dataset of this digest."""
    path = files.join(args.model_dir, DONE)
    if not files.exists(path):
        return False
    found: Any = json.loads(files.read_bytes(path))
    return bool(found == _identity(args, digest))


def _call(command: Sequence[str] | str, what: str) -> None:
    try:
        code = subprocess.run(command, shell=isinstance(command, str), check=False).returncode
    except FileNotFoundError as error:
        raise TrainerError(f"{what}: {error.filename} is not installed") from error
    if code:
        raise TrainerError(
            f"{what} ended with exit code {code}; the dataset is complete: start the same command "
            "again, and only the trainer runs"
        )


def start(args: argparse.Namespace, data: str, digest: str, beam_args: Sequence[str]) -> int:
    """Trains on a finished dataset, wherever `--trainer` says.

    Args:
      args: Flags of `recordmill run`.
      data: The dataset's folder.
      digest: Of the dataset.
      beam_args: Beam's flags: project and region are taken from there.

    Raises:
      TrainerError: The trainer ended badly.
    """
    if args.skip_if_done and is_done(args, digest):
        print(f"{args.model_dir}: is trained on this dataset already")
        return 0
    if args.trainer == "local":
        args.data = data
        code = train.run(args, [])
        if code:
            return code
    elif args.trainer == "docker":
        if files.is_local(args.model_dir):
            os.makedirs(args.model_dir, exist_ok=True)
        _call(docker_command(args, data), "the trainer's container")
    elif args.trainer == "command":
        _call(shell_command(args, data), "--trainer_command")
    else:
        from . import vertex

        # Vertex AI mounts every bucket that its account can read there.
        places = [path.replace("gs://", "/gcs/", 1) for path in (data, args.model_dir)]
        vertex.train(args, training_arguments(args, *places), beam_args)
    content = json.dumps(_identity(args, digest), indent=1) + "\n"
    files.write_bytes(files.join(args.model_dir, DONE), content.encode())
    return 0
