"""Options and headers become a Plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from . import example, sequence
from .division import DividedOrder, Division, make_order
from .errors import UsageError
from .features import Feature, FeatureOptions, make_features
from .options import MAX_NUM_SHARDS, NO_PREPROCESS, PlanOptions, check_record_type
from .plan import Plan, Split
from .rules import load_rule
from .sizing import agree_in_length, cut_split, longest_lists, open_lengths
from .source import Source, check_name, check_version, find_source

DEFAULT_NUM_SHARDS = 8


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


def _ranges(options: PlanOptions, source: Source) -> list[tuple[str, str, int, int]]:
    """(split, source split, start, stop): positions in the source split's order."""
    ranges = []
    for split in source.splits:
        count = source.count(split)
        carved = 0
        if split == "train" and options.validation:
            share = options.validation
            carved = round(share * count) if isinstance(share, float) else share
            order = make_order(
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
        carried=source.carried,
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
            make_order(
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


def _merge(base: FeatureOptions | None, over: FeatureOptions | None) -> FeatureOptions:
    """The command line's wishes over those of `dataset.toml`, field by field."""
    default = FeatureOptions()
    changed = {
        f.name: getattr(over, f.name)
        for f in dataclasses.fields(FeatureOptions)
        if over is not None and getattr(over, f.name) != getattr(default, f.name)
    }
    return dataclasses.replace(base or default, **changed)
