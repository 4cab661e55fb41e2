"""EncodeExamples: blocks of records to blocks of framed Examples, and to single records."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam

from .example import encode_examples
from .features import Feature, check_classes
from .plan import Shard
from .read import Block, Blocks
from .statistics import observe_block
from .tfrecord import Framed


def encode_block(features: tuple[Feature, ...], block: Block) -> Framed:
    """Encodes a block as framed Examples.

    Raises:
      InputError: A value is outside of its feature's classes; names file and record.
    """
    for feature in features:
        if feature.column is not None:
            place = functools.partial(block.place, feature.column)
            check_classes(feature, block.columns[feature.column], place)
    return Framed.of_rows(encode_examples(features, block.columns, block.numbers))


def encode_and_observe(features: tuple[Feature, ...], histogram_step: int, block: Block) -> Framed:
    """Encodes a block, and takes its statistics while it is in the processor's cache."""
    framed = encode_block(features, block)
    found = observe_block(features, block.columns, block.numbers, histogram_step)
    return dataclasses.replace(framed, statistics=found)


class EncodeExamples(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """`(Shard, blocks of records)` to `(Shard, blocks of framed Examples)`."""

    def __init__(
        self,
        features: tuple[Feature, ...],
        *,
        histogram_steps: Mapping[str, int] | None = None,
    ) -> None:
        """Takes the features of a plan, or of `make_features`.

        Args:
          features: What each record holds.
          histogram_steps: By split, see `statistics.histogram_step`; None takes no statistics.
        """
        super().__init__()
        self._features, self._steps = features, histogram_steps

    def expand(self, pcoll: Any) -> Any:
        """Lazy: encoding happens when the blocks are consumed."""
        features, steps = self._features, self._steps

        def encode(shard: Shard, blocks: Blocks[Block]) -> tuple[Shard, Blocks[Framed]]:
            if steps is None:
                return shard, blocks.map(functools.partial(encode_block, features))
            return shard, blocks.map(
                functools.partial(encode_and_observe, features, steps[shard.split])
            )

        return pcoll | beam.MapTuple(encode)


def to_records(element: tuple[Shard, Blocks[Framed]]) -> Iterator[bytes]:
    """The serialized Examples of a shard, one by one, for transforms that take single records."""
    for framed in element[1]:
        yield from framed.messages()
