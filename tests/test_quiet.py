import os

import pytest

from launch.quiet import quiet_stderr


def test_holds_back_what_c_code_writes_and_gives_stderr_back(capfd):
    with quiet_stderr():
        os.write(2, b"notice\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_shows_it_all_when_something_goes_wrong(capfd):
    def fail():
        with quiet_stderr():
            os.write(2, b"the reason\n")
            raise ImportError("no library")

    pytest.raises(ImportError, fail)
    assert capfd.readouterr().err == "the reason\n"


def test_nothing_is_held_back_unless_asked(capfd):
    with quiet_stderr(quiet=False):
        os.write(2, b"notice\n")
    assert capfd.readouterr().err == "notice\n"
