"""Errors that a user can act on.

A message says what is wrong, where, what was found, what was wanted, and what to do.
The command line prints it without a traceback and exits with `exit_code`.
"""


class RecordmillError(Exception):
    """Base of every error that this package raises on purpose."""

    exit_code = 1


class UsageError(RecordmillError):
    """The command or call was wrong: an unknown name, a value out of range."""

    exit_code = 2


class InputError(RecordmillError):
    """The source files are not what they claim to be."""


class DatasetError(RecordmillError):
    """A written dataset is missing, incomplete, damaged, or not the one expected."""


class OutputError(RecordmillError):
    """The output cannot be written, or holds something that must not be lost."""
