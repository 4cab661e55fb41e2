"""EncodeExamples: blocks of records to blocks of framed Examples, and to single records."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np

from .errors import InputError
from .example import encode_examples
from .features import Feature
from .plan import Plan, Preprocess, Shard
from .read import Block, Blocks
from .rules import Rules
from .sequence import encode_records, is_fixed
from .statistics import observe_block
from .tfrecord import Framed

DEFAULT_RULES = Rules()


def set_aside(
    features: tuple[Feature, ...], rules: Rules, block: Block
) -> tuple[Block, tuple[tuple[int, str], ...]]:
    """A block without its bad records, and those: number in the source split, and reason.

    Raises:
      InputError: A record is bad, and the rules don't say that it may be set aside.
    """
    found = rules.find(features, block.columns)
    if not found:
        return block, ()
    row, column, reason = found[0]
    if not rules.skip:
        raise InputError(
            f"{block.place(column, row)}: {reason}; mend the file or the dataset's description, or "
            "set such records aside with --on_bad_record skip"
        )
    if rules.max_bad is not None and len(found) > rules.max_bad:
        raise InputError(
            f"{block.place(column, row)}: {reason}, and {len(found)} of {len(block.numbers)} "
            "records there are bad, more than --max_bad_fraction allows of all; look at the input"
        )
    good = np.ones(len(block.numbers), bool)
    good[[row for row, _, _ in found]] = False
    return block.keep(good), tuple((int(block.numbers[row]), why) for row, _, why in found)


@dataclass(frozen=True)
class Transform:
    """The stored graph of a preprocessing, applied to blocks.

    Attributes:
      preprocess: Of the plan.
      folder: Which holds `transform_fn/`.
    """

    preprocess: Preprocess
    folder: str

    def __call__(self, block: Block) -> Block:
        """Transformed records by output of `preprocessing_fn`, in place of the raw ones."""
        # TensorFlow takes seconds to import, and only this needs it.
        from .preprocess import transform_block

        return transform_block(self.preprocess, self.folder, block)


def transform_of(plan: Plan, folder: str) -> Transform | None:
    """What comes before the encoding of a plan's records; None where they are written raw."""
    if plan.preprocess is None or plan.preprocess.materialize == "raw":
        return None
    return Transform(plan.preprocess, folder)


def encode_block(
    features: tuple[Feature, ...],
    block: Block,
    rules: Rules = DEFAULT_RULES,
    histogram_step: int | None = None,
    transform: Transform | None = None,
) -> Framed:
    """Encodes a block as framed Examples or SequenceExamples.

    Args:
      features: What each record holds.
      block: The records.
      rules: What makes a record bad, and what becomes of it.
      histogram_step: Of the statistics, taken while the block is in the processor's cache; None
        takes none.
      transform: What becomes of the good records before they are encoded.

    Raises:
      InputError: A record is bad, and the rules don't say that it may be set aside.
    """
    raw = features if transform is None else transform.preprocess.raw_features
    block, bad = set_aside(raw, rules, block)
    if transform is not None:
        block = transform(block)
    if is_fixed(features):
        rows = encode_examples(features, block.columns, block.numbers)
        framed = Framed.of_rows(rows)
    else:
        framed = encode_records(features, block.columns, block.numbers)
    found = {}
    if histogram_step is not None:
        found = observe_block(features, block.columns, block.numbers, histogram_step)
    return dataclasses.replace(framed, statistics=found, bad=bad)


class EncodeExamples(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """`(Shard, blocks of records)` to `(Shard, blocks of framed Examples)`."""

    def __init__(
        self,
        features: tuple[Feature, ...],
        *,
        histogram_steps: Mapping[str, int] | None = None,
        rules: Rules = DEFAULT_RULES,
        transform: Transform | None = None,
    ) -> None:
        """Takes the features of a plan, or of `make_features`.

        Args:
          features: What each record holds.
          histogram_steps: By split, see `statistics.histogram_step`; None takes no statistics.
          rules: What makes a record bad, and what becomes of it.
          transform: What becomes of the good records before they are encoded.
        """
        super().__init__()
        self._features, self._steps, self._rules = features, histogram_steps, rules
        self._transform = transform

    def expand(self, pcoll: Any) -> Any:
        """Lazy: encoding happens when the blocks are consumed."""
        features, steps = self._features, self._steps
        rules, transform = self._rules, self._transform

        def encode(shard: Shard, blocks: Blocks[Block]) -> tuple[Shard, Blocks[Framed]]:
            step = None if steps is None else steps[shard.split]
            return shard, blocks.map(
                functools.partial(
                    encode_block, features, rules=rules, histogram_step=step, transform=transform
                )
            )

        return pcoll | beam.MapTuple(encode)


def to_records(element: tuple[Shard, Blocks[Framed]]) -> Iterator[bytes]:
    """The serialized Examples of a shard, one by one, for transforms that take single records."""
    for framed in element[1]:
        yield from framed.messages()
