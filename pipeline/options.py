"""What a user decides about the bytes of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from .errors import UsageError
from .features import ExampleFormat, FeatureOptions, RecordType
from .source import check_name, check_version

MAX_NUM_SHARDS = 100_000  # five digits stand in each shard's name
Shuffle = Literal["record", "none"]
Compression = Literal["none", "gzip"]
OnBadRecord = Literal["fail", "skip"]
SplitBy = Literal["order", "hash"]
Materialize = Literal["raw", "transformed"]
DEFAULT_PREPROCESS, NO_PREPROCESS = "default", "none"


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What a user decides about the bytes of a dataset.

    Attributes:
      input: A folder or a `dataset.toml`.
      name: Of the dataset; None takes the source's.
      version: None takes the source's.
      num_shards: For all splits, or by split; None leaves it to `max_shard_size_bytes`, or is 8.
      max_shard_size_bytes: No shard is larger (before compression).
      shuffle: "record" puts the records into a seeded order, "none" keeps the source's.
      seed: Of that order.
      validation: Carved off train: a fraction below 1, or a number of records.
      max_records_per_split: Converts only the first of each split, in the planned order.
      compression: "gzip" gives up fixed stride and random access.
      example_format: "article" writes the article's record.
      record_type: How sequences are written; None takes the source's, or SequenceExample.
      shape_features: Adds height, width and depth.
      index_feature: Adds the number of the source record.
      features: Wishes by column, over those of `dataset.toml`.
      on_bad_record: "fail" ends the run at the first bad record, "skip" sets them aside.
      max_bad_fraction: More bad records than this end the run, too.
      allow_nan: NaN and infinity make no record bad.
      rule: `path/to/module.py:function`, from columns to bool[n]: which records are good.
      split_by: "order" takes validation from the end of the order, "hash" by record number, so that
        a record stays on its side when others are appended.
      stratify: A column of integers; validation gets the same share of each of its values.
      group: A column of integers; records of one value go to the same side.
      folds: How many folds of train readers are offered, as `fold0/train`, `fold0/validation`, ...
      preprocess: "none", "default", or the path of a module with `preprocessing_fn(inputs)`.
      materialize: Whether the shards hold the "raw" Examples or the "transformed" ones.
    """

    input: str
    name: str | None = None
    version: str | None = None
    num_shards: int | Mapping[str, int] | None = None
    max_shard_size_bytes: int | None = None
    shuffle: Shuffle = "record"
    seed: int = 0
    validation: float | int = 0
    max_records_per_split: int | None = None
    compression: Compression = "none"
    example_format: ExampleFormat = "default"
    record_type: RecordType | None = None
    shape_features: bool = False
    index_feature: bool = False
    features: Mapping[str, FeatureOptions] = field(default_factory=dict)
    on_bad_record: OnBadRecord = "fail"
    max_bad_fraction: float = 0.01
    allow_nan: bool = False
    rule: str | None = None
    split_by: SplitBy = "order"
    stratify: str | None = None
    group: str | None = None
    folds: int = 0
    preprocess: str = NO_PREPROCESS
    materialize: Materialize = "raw"

    def __post_init__(self) -> None:
        """Checks each field by itself."""
        check_record_type(self.record_type or "")
        if self.name is not None:
            check_name("name", self.name)
        if self.version is not None:
            check_version(self.version)
        counts = self.num_shards
        by_split = counts if isinstance(counts, Mapping) else {"every split": counts}
        for split, count in by_split.items():
            if count is not None and not 1 <= count <= MAX_NUM_SHARDS:
                raise UsageError(f"num_shards {count} for {split}: wanted 1 to {MAX_NUM_SHARDS}")
        if self.max_shard_size_bytes is not None and self.max_shard_size_bytes < 1:
            raise UsageError(f"max_shard_size {self.max_shard_size_bytes}: wanted 1 byte or more")
        if self.max_records_per_split is not None and self.max_records_per_split < 1:
            raise UsageError(
                f"max_records_per_split {self.max_records_per_split}: wanted 1 or more"
            )
        if self.validation < 0 or (isinstance(self.validation, float) and self.validation >= 1):
            raise UsageError(
                f"validation {self.validation}: wanted a fraction from 0 up to, not including, 1, "
                "or a whole number of records"
            )
        if not 0 <= self.max_bad_fraction <= 1:
            raise UsageError(f"max_bad_fraction {self.max_bad_fraction}: wanted 0 to 1")
        for name, kind in (
            ("shuffle", Shuffle),
            ("compression", Compression),
            ("example_format", ExampleFormat),
            ("on_bad_record", OnBadRecord),
            ("materialize", Materialize),
            ("split_by", SplitBy),
        ):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(
                    f"{name} {getattr(self, name)!r}: wanted {' or '.join(get_args(kind))}"
                )
        given = [name for name in ("stratify", "group") if getattr(self, name) is not None]
        if self.split_by == "hash":
            given.append("split_by hash")
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other; give one")
        if given and not (isinstance(self.validation, float) and self.validation):
            raise UsageError(
                f"{given[0]}: chooses who goes to validation; give --validation a fraction, such "
                f"as 0.1 (found {self.validation})"
            )
        if self.folds and (self.folds < 2 or self.validation):
            raise UsageError(
                f"folds {self.folds}: wanted 2 or more, and no --validation beside them, for each "
                "fold has its own"
            )
        if self.materialize == "transformed" and self.preprocess == NO_PREPROCESS:
            raise UsageError(
                "materialize transformed: nothing is transformed; give --preprocess default or a "
                "module"
            )


def check_record_type(value: str) -> RecordType | None:
    """Checks what `dataset.toml` says; "" leaves it to the features.

    Raises:
      UsageError: It is no record type.
    """
    if value and value not in get_args(RecordType):
        raise UsageError(f"record_type {value!r}: wanted {' or '.join(get_args(RecordType))}")
    return value or None  # type: ignore[return-value]  # checked above
