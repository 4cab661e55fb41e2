"""Lines of text, plain or in gzip, as batches of texts and labels.

A part is what one worker reads: a range of bytes of a plain file, or a whole file in gzip. A line
belongs to the part in which its first byte stands, so parts can be cut anywhere.

    text    one text a line
    tsv     label<TAB>text
    jsonl   a JSON object a line, with named fields
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, get_args

from . import files
from .errors import InputError, UsageError
from .idx import inflating, is_gzip
from .source import check_name

TextFormat = Literal["text", "tsv", "jsonl"]
# Of a plain file, what a worker takes at a time.
PART_BYTES = 64 << 20
# Lines that are looked at together.
BATCH_BYTES = 1 << 20
COUNT_BYTES = 8 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Part:
    """What one worker reads of a file.

    Attributes:
      split: Which the lines belong to.
      number: Of the part among those of its split.
      path: The file.
      start: The first byte in which its lines may begin.
      stop: The first byte in which they no longer may; None is the end, of a file in gzip.
    """

    split: str
    number: int
    path: str
    start: int
    stop: int | None


@dataclass(frozen=True)
class LineFormat:
    """What a line holds.

    Attributes:
      kind: One of `TextFormat`.
      text_field: Where the text stands in a JSON object.
      label_field: Where the label does; None where there is none.
    """

    kind: TextFormat = "text"
    text_field: str = "text"
    label_field: str | None = None

    def __post_init__(self) -> None:
        """Checks the fields, and that none is without effect."""
        if self.kind not in get_args(TextFormat):
            raise UsageError(f"format {self.kind!r}: wanted {' or '.join(get_args(TextFormat))}")
        if self.kind != "jsonl" and (self.text_field != "text" or self.label_field):
            raise UsageError(
                f"format {self.kind}: has no named fields; leave out text_field and label_field, "
                "or give --format jsonl"
            )

    @property
    def labelled(self) -> bool:
        """Whether each text has a label."""
        return self.kind == "tsv" or self.label_field is not None

    def parse(self, line: bytes) -> tuple[bytes, bytes]:
        r"""Text and label (b"" where there is none) of a line that is valid UTF-8.

        Raises:
          ValueError: The line is of another form; says what was found.

        >>> LineFormat("tsv").parse(b"good\tso much better")
        (b'so much better', b'good')
        """
        text, label = self._parts(line)
        if self.labelled and not (label and label.decode().isprintable()):
            raise ValueError(f"label {label.decode()!r}: wanted one or more printable characters")
        return text, label

    def _parts(self, line: bytes) -> tuple[bytes, bytes]:
        if self.kind == "text":
            return line, b""
        if self.kind == "tsv":
            label, tab, text = line.partition(b"\t")
            if not tab:
                raise ValueError("no tab between a label and the text")
            return text, label
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise ValueError(f"not JSON ({error})") from error
        if not isinstance(fields, dict):
            raise ValueError(f"JSON, but a {type(fields).__name__} and no object")
        return self._field(fields, self.text_field, str), self._label(fields)

    def _label(self, fields: dict[str, Any]) -> bytes:
        if self.label_field is None:
            return b""
        return self._field(fields, self.label_field, (str, int))

    @staticmethod
    def _field(fields: dict[str, Any], name: str, kind: type | tuple[type, ...]) -> bytes:
        if name not in fields:
            there = ", ".join(map(repr, fields)) or "none"
            raise ValueError(f"no field {name!r}; there is {there}")
        if not isinstance(fields[name], kind):
            raise ValueError(f"field {name!r} is a {type(fields[name]).__name__}, no text")
        try:
            return str(fields[name]).encode()
        except UnicodeEncodeError as error:
            # JSON can spell half of a character: "\ud800".
            raise ValueError(f"field {name!r} is no UTF-8: {error.reason}") from error


@dataclass(frozen=True)
class Batch:
    """Good lines, one after the other, and the bad ones between them.

    Attributes:
      texts: n of them, in UTF-8.
      labels: One for each text; () where there are none.
      lines: How many lines into the part each text stands, n of them.
      bad: The same of each bad line, and why it is one.
    """

    texts: list[bytes]
    labels: list[bytes]
    lines: list[int]
    bad: list[tuple[int, str]]


def find_texts(arguments: Sequence[str]) -> dict[str, list[str]]:
    """The files of each split, from `FILE` or `SPLIT=FILE`, where a file may be a pattern.

    Raises:
      UsageError: A split's name that cannot be part of a file's.
      InputError: No such file.
    """
    found: dict[str, list[str]] = {}
    for argument in arguments:
        split, equals, pattern = argument.partition("=")
        if not equals or files.exists(argument):
            split, pattern = "train", argument
        check_name(f"{argument}: split", split)
        matched = [path for path, _ in files.match(pattern)]
        if not matched:
            raise InputError(f"{pattern}: no such file; give FILE or SPLIT=FILE, or a pattern")
        found.setdefault(split, []).extend(matched)
    for split, paths in found.items():
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise UsageError(f"{twice[0]}: is given twice for {split}")
    return found


def cut_parts(texts: dict[str, list[str]]) -> list[Part]:
    """The parts of all files, split by split."""
    parts: list[Part] = []
    for split, paths in texts.items():
        first = len(parts)
        for path in paths:
            size_bytes = files.match(path)[0][1]
            with files.open_read(path) as stream:
                zipped = is_gzip(stream.read(4))
            starts = [0] if zipped else range(0, max(1, size_bytes), PART_BYTES)
            for start in starts:
                stop = None if zipped else min(start + PART_BYTES, size_bytes)
                parts.append(Part(split, len(parts) - first, path, start, stop))
    return parts


@contextlib.contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with files.open_read(path) as stream:
        zipped = is_gzip(stream.read(4))
        stream.seek(0)
        if not zipped:
            yield stream
            return
        with inflating(stream, path) as inflated:
            yield inflated


def _line_batches(part: Part) -> Iterator[list[bytes]]:
    """The lines of a part, with their ends."""
    with _opened(part.path) as stream:
        position = part.start
        if position:
            # The line that began before belongs to the part before.
            stream.seek(position - 1)
            position += len(stream.readline()) - 1
        while part.stop is None or position < part.stop:
            wanted = BATCH_BYTES if part.stop is None else min(BATCH_BYTES, part.stop - position)
            # Python goes on until the lines are longer than asked for, not just as long.
            lines = stream.readlines(wanted - 1) if wanted > 1 else [stream.readline()]
            if not lines or not lines[0]:
                return
            begins_file = not position
            position += sum(map(len, lines))
            if begins_file:
                lines[0] = lines[0].removeprefix(BYTE_ORDER_MARK)
            yield lines


@functools.lru_cache(maxsize=64)
def _lines_before(path: str, offset: int) -> int:
    """Line ends before an offset of a file; only where a line has to be named."""
    count = 0
    with _opened(path) as stream:
        while offset and (data := stream.read(min(COUNT_BYTES, offset))):
            count += data.count(b"\n")
            offset -= len(data)
    return count


def place_of_line(part: Part, line: int) -> str:
    """The file and number, from 1, of the n-th line of a part."""
    # A part's first line is the one after the last line end before its start, but for one that
    # began before: then it ends inside of the part, and the next one is the first.
    before = _lines_before(part.path, part.start)
    if part.start and _lines_before(part.path, part.start - 1) == before:
        before += 1
    return f"{part.path}: line {before + line + 1}"


def _decoded(line: bytes, parse: Callable[[bytes], tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        found = line[error.start : error.start + 4].hex()
        raise ValueError(f"invalid UTF-8 at byte {error.start} ({found})") from error
    return parse(line)


def read_batches(part: Part, form: LineFormat) -> Iterator[Batch]:
    """The texts of a part, some at a time."""
    first = 0
    for ended in _line_batches(part):
        lines = [line.rstrip(b"\r\n") for line in ended]
        batch = Batch([], [], [], [])
        if form.kind == "text" and _is_utf8(ended):
            batch = Batch(lines, [], list(range(first, first + len(lines))), [])
        else:
            for number, line in enumerate(lines, first):
                try:
                    text, label = _decoded(line, form.parse)
                except ValueError as error:
                    batch.bad.append((number, str(error)))
                    continue
                batch.texts.append(text)
                batch.lines.append(number)
                if form.labelled:
                    batch.labels.append(label)
        first += len(lines)
        yield batch


def _is_utf8(lines: list[bytes]) -> bool:
    try:
        b"".join(lines).decode()
    except UnicodeDecodeError:
        return False
    return True
