"""EncodeExamples: blocks of records to blocks of framed Examples, and to single records."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from .example import encode_examples
from .features import Feature, check_classes
from .plan import Shard
from .read import Block, Blocks
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


class EncodeExamples(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """`(Shard, blocks of records)` to `(Shard, blocks of framed Examples)`."""

    def __init__(self, features: tuple[Feature, ...]) -> None:
        """Takes the features of a plan, or of `make_features`."""
        super().__init__()
        self._features = features

    def expand(self, pcoll: Any) -> Any:
        """Lazy: encoding happens when the blocks are consumed."""
        encode = functools.partial(encode_block, self._features)
        return pcoll | beam.MapTuple(lambda shard, blocks: (shard, blocks.map(encode)))


def to_records(element: tuple[Shard, Blocks[Framed]]) -> Iterator[bytes]:
    """The serialized Examples of a shard, one by one, for transforms that take single records."""
    for framed in element[1]:
        yield from framed.messages()
