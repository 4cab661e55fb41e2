import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Command

from launch import cli
from pipeline.errors import DatasetError, UsageError


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"], []])
def test_the_summary_names_every_command(recordmill: Command, argv: list[str]) -> None:
    ran = recordmill(*argv)
    assert ran.code == (0 if argv else 2)
    for verb, (_, _, text) in cli.COMMANDS.items():
        assert verb in ran.out
        assert text in ran.out


@pytest.mark.parametrize("verb", sorted(cli.COMMANDS))
def test_each_command_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: recordmill {verb} ")
    beam = cli.COMMANDS[verb][1]
    assert (f"Flags of Apache Beam's {beam} pass through." in out) == bool(beam)


@pytest.mark.parametrize("verb", sorted(cli.COMMANDS))
def test_flags_are_snake_case_and_told(verb: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f"launch.{cli.COMMANDS[verb][0]}").add_arguments(parser)
    for action in parser._actions:
        assert action.help
        for flag in action.option_strings:
            assert flag == flag.lower().replace("-", "_").replace("__", "--", 1)


def test_the_version(recordmill: Command) -> None:
    from importlib import metadata

    assert recordmill("--version").out == f"recordmill {metadata.version('recordmill')}\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["convrt"], r"'convrt' is no command; there is fetch, .*; did you mean convert\?"),
        (["plan"], r"the following arguments are required: --input; see: recordmill plan --help"),
        (["plan", "--input"], r"argument --input: expected one argument"),
        (["plan", "--input=a", "--sed=1"], r"recordmill plan: --sed is unknown; did you mean --se"),
        (["plan", "--input=a", "--zzz"], r"--zzz is unknown; see: recordmill plan --help"),
        (["plan", "--input=a", "--inp=b"], r"--inp is unknown; did you mean --input\?"),
        (["plan", "--input=a", "b"], r"recordmill plan: 'b' is not expected; flags begin with --"),
        (["plan", "--input=a", "--seed=x"], r"argument --seed: invalid int value: 'x'"),
        # Beam's flags pass through where a pipeline runs, and only there.
        (["plan", "--input=a", "--direct_num_workers=2"], r"--direct_num_workers is unknown"),
        (
            ["convert", "--input=a", "--output=b", "--direct_num_worker=2"],
            r"--direct_num_worker is unknown; did you mean --direct_num_workers\?",
        ),
        (["convert", "--input=a", "--output=b", "--num_shard=2"], r"did you mean --num_shards\?"),
    ],
)
def test_used_wrongly(recordmill: Command, argv: list[str], message: str) -> None:
    ran = recordmill(*argv)
    assert (ran.code, ran.out) == (2, "")
    with pytest.raises(UsageError, match=message):
        raise UsageError(ran.err)
    assert ran.err.startswith("recordmill: error: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (UsageError("wrong"), 2, "recordmill: error: wrong\n"),
        (DatasetError("gone"), 1, "recordmill: error: gone\n"),
        (KeyboardInterrupt(), 130, "interrupted; start the same command again to go on\n"),
    ],
    ids=repr,
)
def test_how_a_command_ends(
    recordmill: Command,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    told: str,
) -> None:
    def run(args: object, beam_args: object) -> int:
        raise raised

    monkeypatch.setattr("launch.plan.run", run)
    ran = recordmill("plan", "--input=a")
    assert ran.code == code
    assert ran.err.endswith(told)


def test_hyphens_are_accepted(recordmill: Command, mnist: Path) -> None:
    ran = recordmill("plan", "--input", mnist, "--num-shards=2", "--index-feature")
    assert ran.code == 0
    assert "in 2 shards" in ran.out
    assert "index: int64_list" in ran.out


def test_a_pipe_that_closes_early_is_no_error(mnist: Path) -> None:
    command = f"{sys.executable} -m launch.cli plan --json --input {mnist} | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""
