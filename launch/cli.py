"""The `recordmill` command. Each verb is a module; a module is imported when its verb is called."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from pipeline.errors import RecordmillError, UsageError

from .stores import STORE_FLAGS, use_object_stores

# Which of Beam's flags pass through a command: none, those of its object stores, all.
NONE, STORES, ALL = "", "object stores", "PipelineOptions"
# verb: module, which of Beam's flags pass through, one line of help
COMMANDS: dict[str, tuple[str, str, str]] = {
    "fetch": ("fetch", NONE, "download Fashion-MNIST and its family"),
    "plan": ("plan", STORES, "show what convert would do, from the headers alone"),
    "tokens": ("tokens", ALL, "make IDX files of tokens and a vocabulary from text"),
    "convert": ("convert", ALL, "write a TFRecord dataset from IDX files, on Apache Beam"),
    "inspect": ("inspect", STORES, "show what a dataset or any TFRecord file holds"),
    "verify": ("verify", STORES, "check a dataset or any TFRecord file, byte by byte"),
    "repair": ("repair", ALL, "rebuild what is damaged of a dataset from its source"),
    "check": ("check", STORES, "look for anomalies and drift in a dataset"),
    "report": ("report", STORES, "write a page about a dataset, and a model trained on it"),
    "predict": ("predict", NONE, "classify images with a trained model"),
    "train": ("train", STORES, "train a classifier on a dataset"),
    "run": ("run", ALL, "convert, verify, then train"),
    "doctor": ("doctor", ALL, "look whether a runner has what it needs"),
}


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong with the arguments, so that there is one way in which errors show."""

    def error(self, message: str) -> None:  # type: ignore[override]  # argparse says NoReturn
        raise UsageError(f"{message}; see: {self.prog} --help")


def _version() -> str:
    from importlib import metadata

    return f"recordmill {metadata.version('recordmill')}"


def _summary() -> str:
    width = max(map(len, COMMANDS)) + 2
    verbs = "\n".join(f"  {verb:<{width}}{text}" for verb, (_, _, text) in COMMANDS.items())
    return (
        "usage: recordmill COMMAND [--flag value ...]\n\n"
        "Raw IDX records to sharded TFRecords on Apache Beam, and on to training.\n\n"
        f"commands:\n{verbs}\n\nrecordmill COMMAND --help shows the flags of a command."
    )


def _snake(argument: str) -> str:
    """Writes `--num-shards=8` as `--num_shards=8`."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def _beam_flags() -> set[str]:
    """All flags that Beam's options know."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False)
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    return set(parser._option_string_actions)


def _flag(argument: str) -> str:
    return argument.partition("=")[0]


def _check_unknown(verb: str, parser: argparse.ArgumentParser, rest: list[str], beam: str) -> None:
    """Checks what argparse left over: all of it must be Beam's.

    Raises:
      UsageError: A flag that nobody knows; names the nearest one.
    """
    if not rest:
        return
    known = {flag for flag in parser._option_string_actions if flag.startswith("--")}
    if beam:
        known |= {flag for flag in _beam_flags() if beam == ALL or flag.startswith(STORE_FLAGS)}
    for argument in rest:
        if argument.startswith("--") and _flag(argument) not in known:
            near = difflib.get_close_matches(_flag(argument), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(
                f"recordmill {verb}: {_flag(argument)} is unknown{hint}; see: "
                f"recordmill {verb} --help"
            )
    if not rest[0].startswith("--"):
        raise UsageError(f"recordmill {verb}: {rest[0]!r} is not expected; flags begin with --")


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_summary())
        return 0 if argv else UsageError.exit_code
    if argv[0] == "--version":
        print(_version())
        return 0
    verb, *arguments = argv
    if verb not in COMMANDS:
        near = difflib.get_close_matches(verb, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"{verb!r} is no command; there is {', '.join(COMMANDS)}{hint}")
    name, beam, text = COMMANDS[verb]
    module = importlib.import_module(f".{name}", __package__)
    parser = _Parser(
        prog=f"recordmill {verb}",
        description=text[0].upper() + text[1:] + ".",
        epilog=f"Flags of Apache Beam's {beam} pass through." if beam else None,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    args, rest = parser.parse_known_args([_snake(argument) for argument in arguments])
    _check_unknown(verb, parser, rest, beam)
    use_object_stores(rest)
    code: int = module.run(args, rest)
    return code


def _tell_error(error: RecordmillError) -> None:
    from . import logs

    if logs.is_json():
        logs.LOGGER.error(str(error), extra={"fields": {"exit_code": error.exit_code}})
    else:
        print(f"recordmill: error: {error}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line.

    Args:
      argv: Without the program's name; None takes the process's.

    Returns:
      0 done, 1 something is wrong with the data, 2 the command was used wrongly.
    """
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except RecordmillError as error:
        _tell_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("recordmill: interrupted; start the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
