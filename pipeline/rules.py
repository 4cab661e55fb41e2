"""Which records are bad: by their features, and by a rule that the user wrote.

Whether a record is bad is a function of its data alone. With `skip` a shard holds what stands at
its positions, minus the bad ones: so its bytes are a function of plan and data as before.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import files
from .errors import UsageError
from .example import Columns
from .features import Feature
from .ragged import Ragged

UserRule = Callable[[Columns], npt.NDArray[np.bool_]]


def load_rule(option: str) -> tuple[str, str]:
    """Reads a rule as the command line names it, `path/to/module.py:function`.

    Returns:
      What it is known by (function and SHA-256 of its file, wherever that lies), and its code.

    Raises:
      UsageError: No such file or function.
    """
    path, colon, function = option.rpartition(":")
    if not colon or not path.endswith(".py") or not function.isidentifier():
        raise UsageError(f"--rule {option!r}: wanted path/to/module.py:function")
    try:
        code = files.read_bytes(path)
    except OSError as error:
        raise UsageError(f"--rule {option!r}: {path}: {error.strerror or error}") from error
    name = f"{function} sha256:{hashlib.sha256(code).hexdigest()}"
    text = code.decode()
    compiled_rule(name, text)
    return name, text


@functools.lru_cache(maxsize=8)
def compiled_rule(name: str, code: str) -> UserRule:
    """The function of a rule. Only code that the user named on this run's command line is run.

    Raises:
      UsageError: Its code fails, or holds no such function.
    """
    function = name.partition(" ")[0]
    module = types.ModuleType("recordmill_rule")
    try:
        exec(compile(code, f"rule {function}", "exec"), module.__dict__)
    except Exception as error:
        raise UsageError(f"--rule: its file fails with {error!r}") from error
    rule = getattr(module, function, None)
    if not callable(rule):
        raise UsageError(f"--rule: its file has no function {function!r}")
    found: UserRule = rule
    return found


@dataclass(frozen=True)
class Rules:
    """What makes a record bad, and what becomes of it.

    Attributes:
      skip: Bad records are set aside; else the first is the end of the run.
      allow_nan: NaN and infinity are welcome.
      rule: What a user's rule is known by; "" where there is none.
      code: Of that rule.
      max_bad: So many bad records in one block end the run, without waiting for the rest.
    """

    skip: bool = False
    allow_nan: bool = False
    rule: str = ""
    code: str = ""
    max_bad: int | None = None

    def find(self, features: Iterable[Feature], columns: Columns) -> list[tuple[int, str, str]]:
        """The bad rows of a block, in order, each with a column and its first reason.

        Args:
          features: Of the dataset.
          columns: Each `[n, *record_shape]` or a `Ragged`, of either byte order.

        Raises:
          UsageError: The user's rule did not answer with bool[n].

        >>> from pipeline.features import ColumnSpec, FeatureOptions, make_feature
        >>> label = make_feature("y", ColumnSpec("uint8", ()), FeatureOptions(num_classes=2))
        >>> Rules().find([label], {"y": np.array([0, 2, 1])})
        [(1, 'y', 'y is 2, outside of the 2 classes 0..1')]
        """
        found: dict[int, tuple[str, str]] = {}
        for feature in features:
            if feature.column is None:
                continue
            column = columns[feature.column]
            # Of lists, each step is looked at by itself.
            values = column.values if isinstance(column, Ragged) else column
            within = tuple(range(1, values.ndim))
            if feature.num_classes is not None:
                wrong = ((values < 0) | (values >= feature.num_classes)).any(axis=within)
                for number in np.flatnonzero(wrong).tolist():
                    row, step = _row_of(column, number)
                    text = (
                        f"outside of the {feature.num_classes} classes 0..{feature.num_classes - 1}"
                    )
                    told = f"{feature.name} is {values[number].tolist()}{step}, {text}"
                    found.setdefault(row, (feature.column, told))
            if values.dtype.kind == "f" and not self.allow_nan:
                for number in np.flatnonzero(~np.isfinite(values).all(axis=within)).tolist():
                    row, step = _row_of(column, number)
                    told = f"{feature.name} holds NaN or infinity{step}"
                    found.setdefault(row, (feature.column, told))
        if self.rule:
            obeys, first = self._ask(columns), next(iter(columns))
            for row in np.flatnonzero(~obeys).tolist():
                found.setdefault(row, (first, f"breaks the rule {self.rule.partition(' ')[0]}"))
        return [(row, *found[row]) for row in sorted(found)]

    def _ask(self, columns: Columns) -> npt.NDArray[np.bool_]:
        count = len(next(iter(columns.values())))
        name = self.rule.partition(" ")[0]
        answer: Any = compiled_rule(self.rule, self.code)(columns)
        if not isinstance(answer, np.ndarray) or answer.dtype != bool or answer.shape != (count,):
            kind = getattr(answer, "dtype", type(answer).__name__)
            shape = getattr(answer, "shape", "")
            raise UsageError(f"--rule {name}: answered with {kind}{shape}, wanted bool[{count}]")
        return answer


def _row_of(column: Any, number: int) -> tuple[int, str]:
    """The row that a value, or a step of a list, stands in, and which step it is, in words."""
    if not isinstance(column, Ragged):
        return number, ""
    row = int(np.searchsorted(column.starts + column.lengths, number, side="right"))
    return row, f" at step {number - int(column.starts[row])}"
