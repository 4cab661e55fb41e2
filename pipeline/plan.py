"""Options and headers become a Plan: every shard's records, bytes and name, before data moves.

Of lists of varying length, the lengths are read as well. The bytes of a shard are a function of
the plan and the shard's number. Nothing else may enter: not the runner, not the number of
workers, not the time, not the folder in which the input lies. The digest covers just what decides
the bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from . import example, idx, sequence
from .division import DividedOrder, Division
from .errors import UsageError
from .features import (
    ExampleFormat,
    Feature,
    FeatureOptions,
    RecordType,
    make_features,
)
from .idx import IdxHeader
from .order import Order, Permutation, SourceOrder, even_ranges
from .rules import Rules, load_rule
from .sizing import agree_in_length, cut_split, longest_lists, open_lengths
from .source import Source, SourceFile, check_name, check_version, find_source

DEFAULT_NUM_SHARDS = 8
MAX_NUM_SHARDS = 100_000  # five digits stand in each shard's name
PLAN_FORMAT = 1
BLOCK_BYTES = 2 << 20
# Where records differ in length, the largest block may be this many times the usual one.
LONGEST_BLOCKS = 16
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


@dataclass(frozen=True)
class Shard:
    """A shard to be written: the records at positions `[start, stop)` of its source's order.

    >>> Shard("train", index=0, num_shards=8, start=0, stop=7500).count
    7500
    """

    split: str
    index: int
    num_shards: int
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of records."""
        return self.stop - self.start


@dataclass(frozen=True)
class Split:
    """A split of the output: a range of positions of a source split, cut into shards.

    Attributes:
      cuts: Where shards that are cut by bytes meet; () where all records are of one length.
      shard_bytes: Bytes of each shard, before compression; () where a stride tells them.
      longest_bytes: Of the longest record; 0 where a stride tells it.
    """

    name: str
    source: str
    start: int
    stop: int
    num_shards: int
    cuts: tuple[int, ...] = ()
    shard_bytes: tuple[int, ...] = ()
    longest_bytes: int = 0

    @property
    def count(self) -> int:
        """Number of records."""
        return self.stop - self.start

    def shards(self) -> list[Shard]:
        """The shards in order; not cut by bytes, their lengths differ by one record at most."""
        bounds = (self.start, *self.cuts, self.stop)
        ranges = list(itertools.pairwise(bounds))
        if not self.cuts:
            ranges = even_ranges(self.start, self.stop, self.num_shards)
        return [
            Shard(self.name, index, self.num_shards, start, stop)
            for index, (start, stop) in enumerate(ranges)
        ]


@dataclass(frozen=True)
class Preprocess:
    """A preprocessing by tensorflow-transform.

    Attributes:
      module: "default", or the name of the user's module.
      sha256: Of the user's module, in hexadecimal.
      materialize: Whether the shards hold the "raw" Examples or the "transformed" ones.
      raw_features: What the raw Examples hold, and `preprocessing_fn` is given.
      path: Of the user's module; "" where the plan comes from a manifest, whose word is no reason
        to run a file.
    """

    module: str
    sha256: str
    materialize: Materialize
    raw_features: tuple[Feature, ...]
    path: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a dataset, and where its input lies.

    Attributes:
      sources: source split -> column -> files.
      splits: Those of the output; "validation" has "train" as its source.
      preprocess: What comes before training; None where nothing does.
      division: How validation was chosen, where the order alone does not.
      folds: Views of train that readers are offered.
    """

    name: str
    version: str
    description: str
    features: tuple[Feature, ...]
    sources: dict[str, dict[str, tuple[SourceFile, ...]]]
    splits: tuple[Split, ...]
    shuffle: Shuffle
    seed: int
    compression: Compression
    on_bad_record: OnBadRecord = "fail"
    max_bad_fraction: float = 0.01
    allow_nan: bool = False
    rule: str = ""
    rule_code: str = field(default="", repr=False)

    @property
    def rules(self) -> Rules:
        """Which records are bad, and what becomes of them.

        Raises:
          UsageError: The plan comes from a manifest, which has no code, and it has a rule.
        """
        if self.rule and not self.rule_code:
            raise UsageError(
                f"the records were chosen by a rule, {self.rule}: give --rule "
                "path/to/module.py:function, the same file as then"
            )
        return Rules(
            skip=self.on_bad_record == "skip",
            allow_nan=self.allow_nan,
            rule=self.rule,
            code=self.rule_code,
            max_bad=self.max_bad,
        )

    @property
    def max_bad(self) -> int:
        """How many bad records a run may set aside."""
        return int(self.max_bad_fraction * self.num_records)

    def with_rule(self, option: str | None) -> Plan:
        """The plan with the code of its rule, which is never taken from a file that was found.

        Raises:
          UsageError: It is not the rule that the plan was made with.
        """
        if option is None:
            return self
        name, code = load_rule(option)
        if name != self.rule:
            raise UsageError(
                f"--rule {option}: is {name}, but the records were chosen by "
                f"{self.rule or 'no rule'}"
            )
        return dataclasses.replace(self, rule_code=code)

    preprocess: Preprocess | None = None
    division: Division | None = None
    folds: int = 0

    @property
    def fixed(self) -> bool:
        """Whether all records are of one length; only then is there a layout and a stride."""
        return sequence.is_fixed(self.features)

    @property
    def record_type(self) -> RecordType:
        """Which message a record is."""
        lists = any(feature.sequence == "feature_list" for feature in self.features)
        return "sequence_example" if lists else "example"

    @property
    def layout(self) -> example.Layout:
        """Where the features stand in each framed record."""
        return example.layout_of(self.features)

    @property
    def stride(self) -> int:
        """Bytes from one record to the next, before compression."""
        return self.layout.stride

    @property
    def block_records(self) -> int:
        """Records that are read, encoded and written at a time."""
        if self.fixed:
            return max(1, BLOCK_BYTES // self.stride)
        longest = max(split.longest_bytes for split in self.splits)
        mean = self.num_bytes // max(1, self.num_records)
        return max(1, BLOCK_BYTES // max(1, mean, longest // LONGEST_BLOCKS))

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards, before compression."""
        if self.fixed:
            return self.num_records * self.stride
        return sum(sum(split.shard_bytes) for split in self.splits)

    @property
    def num_records(self) -> int:
        """Records of all splits."""
        return sum(split.count for split in self.splits)

    def split(self, name: str) -> Split:
        """The split of this name."""
        return next(split for split in self.splits if split.name == name)

    def source_count(self, source: str) -> int:
        """Records of a source split."""
        return sum(part.header.count for part in next(iter(self.sources[source].values())))

    def order(self, source: str) -> Order | DividedOrder:
        """Which record of a source split stands at which position."""
        count = self.source_count(source)
        division = self.division if source == "train" else None
        return _order(self.shuffle, self.seed, source, count, division, self.sources[source])

    def source_files(self) -> list[SourceFile]:
        """Every file of the input, each once."""
        parts = (
            part
            for columns in self.sources.values()
            for parts in columns.values()
            for part in parts
        )
        return list(dict.fromkeys(parts))

    @property
    def folder(self) -> str:
        """The dataset's folder, relative to the output."""
        return f"{self.name}/{self.version}"

    def prefix(self, split: str) -> str:
        """What the names of a split's shards begin with, as TFDS names them."""
        return f"{self.name}-{split}.tfrecord"

    def shard_name(self, shard: Shard) -> str:
        """The file name of a shard."""
        return f"{self.prefix(shard.split)}-{shard.index:05d}-of-{shard.num_shards:05d}"

    def identity(self) -> dict[str, Any]:
        """What decides the bytes, as JSON values: no folder, no time, no machine."""
        plan = self.to_json()
        del plan["description"], plan["max_bad_fraction"]
        # What is as it always was leaves the digest as it always was.
        for name, value in (("on_bad_record", "fail"), ("allow_nan", False), ("rule", "")):
            if plan[name] == value:
                del plan[name]
        if self.preprocess is not None:
            # The user's file is known by its content.
            del plan["preprocess"]["module"]
        for columns in plan["sources"].values():
            for parts in columns.values():
                for part in parts:
                    del part["path"], part["version"]
        return plan

    def digest(self) -> str:
        """SHA-256 of the identity, in hexadecimal."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        text = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; without code."""
        value = dataclasses.asdict(self)
        del value["rule_code"]
        if self.division is None:
            del value["division"]
        if not self.folds:
            del value["folds"]
        if self.preprocess is None:
            del value["preprocess"]
        else:
            del value["preprocess"]["path"]
        return {"format": PLAN_FORMAT, **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The reverse of `to_json`, also after a trip through JSON text."""
        if value.get("format") != PLAN_FORMAT:
            raise UsageError(
                f"a plan of format {value.get('format')!r}, wanted {PLAN_FORMAT}: it was made by "
                "another version of recordmill; convert again, or install that version"
            )

        def source_file(part: Mapping[str, Any]) -> SourceFile:
            header = IdxHeader(part["header"]["dtype"], tuple(part["header"]["shape"]))
            return SourceFile(**{**part, "header": header})

        return cls(
            name=value["name"],
            version=value["version"],
            description=value["description"],
            features=features_from_json(value["features"]),
            sources={
                split: {
                    column: tuple(source_file(part) for part in parts)
                    for column, parts in columns.items()
                }
                for split, columns in value["sources"].items()
            },
            splits=tuple(
                Split(
                    **{
                        **split,
                        "cuts": tuple(split["cuts"]),
                        "shard_bytes": tuple(split["shard_bytes"]),
                    }
                )
                for split in value["splits"]
            ),
            shuffle=value["shuffle"],
            seed=value["seed"],
            compression=value["compression"],
            on_bad_record=value["on_bad_record"],
            max_bad_fraction=value["max_bad_fraction"],
            allow_nan=value["allow_nan"],
            rule=value["rule"],
            preprocess=preprocess_from_json(value.get("preprocess")),
            division=Division(**value["division"]) if "division" in value else None,
            folds=value.get("folds", 0),
        )


def preprocess_from_json(value: Mapping[str, Any] | None) -> Preprocess | None:
    """A preprocessing from the form that `dataclasses.asdict` gives it."""
    if value is None:
        return None
    return Preprocess(**{**value, "raw_features": features_from_json(value["raw_features"])})


def features_from_json(values: list[dict[str, Any]]) -> tuple[Feature, ...]:
    """Features from the form that `dataclasses.asdict` gives them, lists for tuples or not."""
    return tuple(
        Feature(**{**value, "shape": tuple(value["shape"]), "names": tuple(value["names"])})
        for value in values
    )


def _num_shards(options: PlanOptions, split: str, count: int, stride: int) -> int:
    wanted = options.num_shards
    if isinstance(wanted, Mapping):
        wanted = wanted.get(split)
    limit = options.max_shard_size_bytes
    if limit is not None:
        if limit < stride:
            raise UsageError(f"max_shard_size {limit} bytes: one record takes {stride}; allow more")
        needed = -(-count // (limit // stride))
        wanted = max(wanted or 1, needed)
    wanted = _check_num_shards(split, DEFAULT_NUM_SHARDS if wanted is None else wanted)
    # An empty shard is of no use to a reader, but a split needs one file.
    return max(1, min(wanted, count))


def _check_num_shards(split: str, shards: int) -> int:
    if shards > MAX_NUM_SHARDS:
        raise UsageError(
            f"split {split!r} would have {shards} shards, {MAX_NUM_SHARDS} at most; raise "
            "max_shard_size"
        )
    return shards


def check_record_type(value: str) -> RecordType | None:
    """Checks what `dataset.toml` says; "" leaves it to the features.

    Raises:
      UsageError: It is no record type.
    """
    if value and value not in get_args(RecordType):
        raise UsageError(f"record_type {value!r}: wanted {' or '.join(get_args(RecordType))}")
    return value or None  # type: ignore[return-value]  # checked above


def _ranges(options: PlanOptions, source: Source) -> list[tuple[str, str, int, int]]:
    """(split, source split, start, stop): positions in the source split's order."""
    ranges = []
    for split in source.splits:
        count = source.count(split)
        carved = 0
        if split == "train" and options.validation:
            share = options.validation
            carved = round(share * count) if isinstance(share, float) else share
            order = _order(
                options.shuffle,
                options.seed,
                split,
                count,
                _division(options),
                source.splits[split],
            )
            if isinstance(order, DividedOrder):
                carved = order.late
            if not 0 < carved < count:
                raise UsageError(
                    f"validation {options.validation} of {count} train records leaves "
                    f"{count - carved} for train and {carved} for validation; wanted both above 0"
                )
        ranges.append((split, split, 0, count - carved))
        if carved:
            ranges.append(("validation", split, count - carved, count))
    return ranges


def make_plan(options: PlanOptions) -> Plan:
    """Reads the headers of the input and decides everything.

    Raises:
      InputError: The input is not what it claims to be.
      UsageError: The options ask for what cannot be.
    """
    source = find_source(options.input)
    if options.validation and "train" not in source.splits:
        raise UsageError(
            f"validation {options.validation}: no split 'train' to carve it off; there is "
            f"{', '.join(source.splits)}"
        )
    if options.validation and "validation" in source.splits:
        raise UsageError(
            f"validation {options.validation}: {options.input} has a split 'validation' already"
        )
    wishes = {
        column: _merge(source.options.get(column), options.features.get(column))
        for column in {**source.options, **options.features}
    }
    longest = longest_lists(source)
    columns = {
        name: dataclasses.replace(spec, longest=longest.get(name, 0))
        for name, spec in source.columns.items()
    }
    # Columns whose first axis is time are sequences of one length.
    stacks = {
        name: spec.shape[0]
        for name, spec in columns.items()
        if name in wishes and wishes[name].kind == "sequence" and not spec.ragged and spec.shape
    }
    features = make_features(
        columns,
        wishes,
        example_format=options.example_format,
        record_type=options.record_type or check_record_type(source.record_type),
        one_length=agree_in_length(source, stacks),
        shape_features=options.shape_features,
        index_count=max(map(source.count, source.splits)) if options.index_feature else None,
    )
    ranges = _ranges(options, source)
    preprocess = None
    if options.preprocess != NO_PREPROCESS:
        if not sequence.is_fixed(features):
            raise UsageError(
                f"preprocess {options.preprocess}: knows no lists of varying length; convert them "
                "with --preprocess none, and preprocess other columns in a dataset of their own"
            )
        # TensorFlow takes seconds to import, and is not there where nobody trains.
        from .preprocess import plan_preprocessing

        records = sum(stop - start for split, _, start, stop in ranges if split == "train")
        preprocess, features = plan_preprocessing(
            options.preprocess, options.materialize, features, records
        )
    if isinstance(options.num_shards, Mapping):
        for split in options.num_shards:
            if split not in (names := [r[0] for r in ranges]):
                raise UsageError(f"num_shards: no split {split!r}; there is {', '.join(names)}")
    splits = []
    for split, origin, start, stop in ranges:
        if options.max_records_per_split is not None:
            stop = min(stop, start + options.max_records_per_split)
        splits.append(_split(options, source, features, stacks, split, origin, (start, stop)))
    rule, code = load_rule(options.rule) if options.rule else ("", "")
    return Plan(
        name=options.name or check_name("name", source.name),
        version=options.version or check_version(source.version),
        description=source.description,
        features=features,
        sources=source.splits,
        splits=tuple(splits),
        shuffle=options.shuffle,
        seed=options.seed,
        compression=options.compression,
        on_bad_record=options.on_bad_record,
        max_bad_fraction=options.max_bad_fraction,
        allow_nan=options.allow_nan,
        rule=rule,
        rule_code=code,
        preprocess=preprocess,
        division=_division(options),
        folds=options.folds,
    )


def _split(
    options: PlanOptions,
    source: Source,
    features: tuple[Feature, ...],
    stacks: Mapping[str, int],
    name: str,
    origin: str,
    bounds: tuple[int, int],
) -> Split:
    if sequence.is_fixed(features):
        stride = example.layout_of(features).stride
        shards = _num_shards(options, name, bounds[1] - bounds[0], stride)
        return Split(name, origin, *bounds, shards)
    wanted = options.num_shards
    with open_lengths(source.splits[origin]) as lengths:
        cut = cut_split(
            name,
            features,
            {**stacks, **lengths},
            _order(
                options.shuffle,
                options.seed,
                origin,
                source.count(origin),
                _division(options) if origin == "train" else None,
                source.splits[origin],
            ),
            bounds,
            wanted.get(name) if isinstance(wanted, Mapping) else wanted,
            options.max_shard_size_bytes,
            DEFAULT_NUM_SHARDS,
        )
    shards = _check_num_shards(name, len(cut.shard_bytes))
    return Split(name, origin, *bounds, shards, cut.cuts, cut.shard_bytes, cut.longest_bytes)


def _division(options: PlanOptions) -> Division | None:
    share = float(options.validation)
    if options.split_by == "hash":
        return Division("hash", "", share, options.seed)
    if options.stratify is not None:
        return Division("stratify", options.stratify, share, options.seed)
    if options.group is not None:
        return Division("group", options.group, share, options.seed)
    return None


def _order(
    shuffle: Shuffle,
    seed: int,
    source: str,
    count: int,
    division: Division | None,
    columns: Mapping[str, tuple[SourceFile, ...]],
) -> Order | DividedOrder:
    base = SourceOrder(count) if shuffle == "none" else Permutation(count, seed, source)
    if division is None:
        return base
    if division.column and division.column not in columns:
        raise UsageError(
            f"{division.by} {division.column!r}: is no column; there is {', '.join(columns)}"
        )
    return DividedOrder(base, division, columns.get(division.column, ()))


def _merge(base: FeatureOptions | None, over: FeatureOptions | None) -> FeatureOptions:
    """The command line's wishes over those of `dataset.toml`, field by field."""
    default = FeatureOptions()
    changed = {
        f.name: getattr(over, f.name)
        for f in dataclasses.fields(FeatureOptions)
        if over is not None and getattr(over, f.name) != getattr(default, f.name)
    }
    return dataclasses.replace(base or default, **changed)


def estimate_peak_bytes(plan: Plan) -> int:
    """Resident memory of one converting process: the same for a thousand times the records."""
    base = 230 << 20  # Beam, numpy and the interpreter, measured
    columns = [
        sum(part.header.count * part.header.record_bytes for part in parts)
        for by_column in plan.sources.values()
        for parts in by_column.values()
    ]
    resident = min(sum(c for c in columns if c <= idx.RESIDENT_BYTES), 2 * idx.RESIDENT_BYTES)
    if plan.fixed:
        return base + resident + 6 * max(BLOCK_BYTES, plan.stride)
    longest = max(split.longest_bytes for split in plan.splits)
    return base + resident + 6 * max(BLOCK_BYTES, plan.block_records * longest)
