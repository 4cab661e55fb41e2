"""What can be wrong with a shard whose records differ in length: as `checks.py` for rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from . import protos, tfrecord
from .checks import Findings, value_problem
from .content import content_sum
from .features import Feature
from .plan import Plan
from .ragged import Ragged
from .sequence import decode_records
from .tfrecord import Framed

Ints = npt.NDArray[np.int64]


def check_blocks(
    stream: IO[bytes],
    plan: Plan,
    offsets: Ints,
    wanted: Iterable[Framed] | None,
    found: Findings,
    *,
    deep: bool,
) -> tuple[int, int]:
    """Checks all records of a shard.

    Args:
      stream: The shard, inflated where it is compressed.
      plan: Of the dataset.
      offsets: Of its records, as its index tells them.
      wanted: Its blocks, encoded from the source anew, or None.
      found: Takes what is wrong.
      deep: Parses each record with protobuf, too, and sums up the digest of the content.

    Returns:
      How many records there are, and the sum of `content.content_sum`.
    """
    first = content = 0
    for count, anew in _steps(plan, len(offsets) - 1, wanted):
        begin = int(offsets[min(first, len(offsets) - 1)])
        places = offsets[first : first + count + 1] - begin
        data = stream.read(int(places[-1]))
        if len(places) <= count or len(data) < places[-1]:
            cut = first + int(np.searchsorted(places, len(data), side="right")) - 1
            found.add("the file ends inside of this record or before it", cut, int(offsets[cut]))
            return first, content
        framed = Framed(np.frombuffer(data, np.uint8), places)
        damaged = tfrecord.damaged_records(framed)
        for row in damaged.tolist():
            problem = "the checksum of its data does not fit; it is damaged"
            found.add(problem, first + row, begin + int(places[row]))
        if not len(damaged):
            _check_values(plan.features, framed, first, begin, found)
        if deep:
            content += content_sum(framed)
            _check_parses(plan, framed, set(damaged.tolist()), first, begin, found)
        if anew is not None:
            _check_source(framed, anew, first, begin, found)
        first += count
    if stream.read(1):
        found.add("bytes stand behind the last record", None, int(offsets[-1]))
    return first, content


def _steps(
    plan: Plan, records: int, wanted: Iterable[Framed] | None
) -> Iterator[tuple[int, Framed | None]]:
    if wanted is not None:
        yield from ((len(block), block) for block in wanted)
        return
    step = plan.block_records
    yield from ((min(step, records - start), None) for start in range(0, records, step))


def _decode(features: tuple[Feature, ...], framed: Framed) -> dict[str, Any] | None:
    """The values of records; None where they are not made of these features."""
    try:
        return decode_records(features, framed)
    except (ValueError, IndexError):
        return None


def _check_values(
    features: tuple[Feature, ...], framed: Framed, first: int, begin: int, found: Findings
) -> None:
    decoded = _decode(features, framed)
    if decoded is None:
        for row in range(len(framed)):
            start, stop = framed.offsets[row : row + 2]
            one = Framed(framed.data[start:stop], np.array([0, stop - start]))
            if _decode(features, one) is None:
                found.add(
                    "is no record of this dataset's features", first + row, begin + int(start)
                )
        return
    for feature in features:
        values = decoded[feature.name]
        flat = values.values if isinstance(values, Ragged) else values
        wrong = np.flatnonzero(value_problem(feature, flat))
        rows = wrong
        if isinstance(values, Ragged):
            rows = np.searchsorted(values.starts + values.lengths, wrong, side="right")
        for number, row in zip(wrong.tolist(), rows.tolist(), strict=True):
            problem = f"{feature.name} is {flat[number].tolist()}, which its feature does not allow"
            found.add(problem, first + row, begin + int(framed.offsets[row]))
        if feature.length_of is not None:
            lengths = decoded[feature.length_of].lengths
            for row in np.flatnonzero(values != lengths).tolist():
                problem = f"{feature.name} is {values[row]}, but there are {lengths[row]} steps"
                found.add(problem, first + row, begin + int(framed.offsets[row]))


def _check_parses(
    plan: Plan, framed: Framed, damaged: set[int], first: int, begin: int, found: Findings
) -> None:
    from google.protobuf.message import DecodeError

    lists = plan.record_type == "sequence_example"
    wanted = sorted(f.name for f in plan.features if f.sequence != "feature_list")
    wanted_lists = sorted(f.name for f in plan.features if f.sequence == "feature_list")
    for row, data in enumerate(framed.messages()):
        if row in damaged:
            continue
        try:
            parsed: Any = (protos.parse_sequence_example if lists else protos.parse_example)(data)
        except DecodeError as error:
            problem = f"not a tf.train message: {error}"
        else:
            context = parsed.context if lists else parsed.features
            names = sorted(context.feature)
            of_lists = sorted(parsed.feature_lists.feature_list) if lists else []
            if (names, of_lists) == (wanted, wanted_lists):
                continue
            problem = f"its features are {', '.join([*names, *of_lists]) or 'none'}"
        found.add(problem, first + row, begin + int(framed.offsets[row]))


def _check_source(framed: Framed, anew: Framed, first: int, begin: int, found: Findings) -> None:
    if np.array_equal(framed.data, anew.data):
        return
    for row in range(min(len(framed), len(anew))):
        start = int(framed.offsets[row])
        one = framed.data[start : framed.offsets[row + 1]]
        other = anew.data[anew.offsets[row] : anew.offsets[row + 1]]
        same = min(len(one), len(other))
        differing = np.flatnonzero(one[:same] != other[:same])
        if len(differing) or len(one) != len(other):
            place = start + (int(differing[0]) if len(differing) else same)
            problem = "not what the source's record at this place makes"
            found.add(problem, first + row, begin + place)
