import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import Callable

import pytest

from launch.progress import progress


def work(total: int | None = 4, **options: bool) -> None:
    with progress(total, "converting train", "shards", **options) as bar:
        for _ in range(4):
            bar.update(1)


def test_short_work_leaves_one_line_in_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    work()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("converting train: 100% 4/4 [")
    assert err.count("\n") == 1
    assert "\r" not in err


def test_long_work_writes_a_line_every_few_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    now = [1000.0]
    with progress(60, "converting train", "shards") as bar:
        bar._time = lambda: now[0]
        bar.start_t = bar.last_print_t = now[0]
        for _ in range(60):
            now[0] += 1
            bar.update(1)
    lines = capfd.readouterr().err.splitlines()
    assert 6 <= len(lines) <= 13
    assert lines[-1].startswith("converting train: 100% 60/60 [01:00")


def test_an_unknown_total(capfd: pytest.CaptureFixture[str]) -> None:
    work(None)
    assert capfd.readouterr().err.startswith("converting train: 4 shards [")


def test_quiet_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    work(quiet=True)
    assert capfd.readouterr() == ("", "")


def test_bytes_and_many_records_have_prefixes(capfd: pytest.CaptureFixture[str]) -> None:
    with progress(26_421_880, "train", "B", initial=13_000_000) as bar:
        bar.update(13_421_880)
    with progress(1_200_000, "train", "records") as bar:
        bar.update(1_200_000)
    of_bytes, of_records = capfd.readouterr().err.splitlines()
    assert of_bytes.startswith("train: 100% 26.4M/26.4M [")
    assert of_bytes.endswith("B/s]")
    assert of_records.startswith("train: 100% 1.20M/1.20M [")


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Does the work on a terminal of so many columns; returns what it showed."""

    def shown(columns: int) -> str:
        screen, stderr = pty.openpty()
        fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with os.fdopen(stderr, "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            work()
            stream.flush()
            with os.fdopen(screen, "rb") as reader:
                return reader.read1(100_000).decode()

    return shown


def test_a_terminal_shows_a_bar(on_terminal: Callable[[int], str]) -> None:
    shown = on_terminal(80)
    assert shown.startswith("\rconverting train:   0%|")
    assert "100%|█" in shown


def test_a_terminal_without_columns_gets_lines(on_terminal: Callable[[int], str]) -> None:
    assert on_terminal(0).startswith("converting train: 100% 4/4 [")
