"""`recordmill plan`: what `convert` would do, from the headers alone."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from pipeline.example import layout_of
from pipeline.options import PlanOptions
from pipeline.plan import Plan, estimate_peak_bytes
from pipeline.planning import make_plan
from pipeline.splits import fold_counts

from .sizes import format_size, parse_shards, parse_share, parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add_plan_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that decide the bytes of a dataset; `convert` and `run` share them."""
    add = parser.add_argument
    add("--input", required=True, help="folder of IDX files, or a dataset.toml")
    add("--name", help="of the dataset (default: dataset.toml's, or the folder's)")
    add("--version", help="such as 1.0.0")
    add("--num_shards", metavar="N", help="8, or by split: train=8,test=1 (default: 8)")
    add("--max_shard_size", metavar="SIZE", help="as many shards as needed, such as 128MiB")
    add("--shuffle", default="record", metavar="record|none", help="order (default: record)")
    add("--seed", type=int, default=0, help="of the order (default: 0)")
    add("--validation", metavar="X", help="carve off train: a fraction or a number of records")
    add("--max_records_per_split", type=int, metavar="N", help="convert only so many of each split")
    add("--compression", default="none", metavar="none|gzip", help="of the shards (default: none)")
    add(
        "--example_format",
        default="default",
        metavar="default|article",
        help="article: image as bytes of float32 in [0, 1], label as bytes of a float64 one-hot",
    )
    add(
        "--record_type",
        metavar="example|sequence_example",
        help="how lists of varying length are written (default: sequence_example)",
    )
    add("--shape_features", action="store_true", help="add height, width and depth")
    add("--index_feature", action="store_true", help="add the number of the source record")
    add(
        "--on_bad_record",
        default="fail",
        metavar="fail|skip",
        help="end the run, or set aside what is outside of the classes, NaN, infinite, or breaks "
        "the rule (default: fail)",
    )
    add(
        "--max_bad_fraction",
        type=float,
        default=0.01,
        metavar="X",
        help="set aside no more than this share of all records (default: 0.01)",
    )
    add("--allow_nan", action="store_true", help="NaN and infinity make no record bad")
    add(
        "--rule",
        metavar="FILE.py:FUNCTION",
        help="your own: from columns, a dict of arrays [n, ...], to bool[n], which are good",
    )
    add(
        "--feature",
        action="append",
        default=[],
        metavar="NAME=ENCODING[,dtype=…][,scale=…][,num_classes=…][,kind=…]",
        help="bytes, int64_list, float_list or one_hot for a column; may be repeated",
    )

    add(
        "--split_by",
        default="order",
        metavar="order|hash",
        help="how --validation is carved off; hash: a record stays on its side when others are "
        "appended (default: order)",
    )
    add("--stratify", metavar="COLUMN", help="the same share of each of its values in validation")
    add("--group", metavar="COLUMN", help="records of one value go to the same side")
    add(
        "--folds",
        type=int,
        default=0,
        metavar="K",
        help="K views of train for readers: fold0/train, fold0/validation, ...",
    )
    add(
        "--preprocess",
        default="none",
        metavar="default|none|MODULE.py",
        help="a full pass over train with tensorflow-transform before training; a module has "
        "preprocessing_fn(inputs) (default: none)",
    )
    add(
        "--materialize",
        default="raw",
        metavar="raw|transformed",
        help="what the shards hold; the transform is stored beside them (default: raw)",
    )


def plan_from_args(args: argparse.Namespace) -> Plan:
    """The plan that the flags of `add_plan_arguments` ask for."""
    from pipeline.features import parse_feature_option

    if args.preprocess != "none":
        # TensorFlow's start-up notices would stand before the first line of ours.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return make_plan(
        PlanOptions(
            input=args.input,
            name=args.name,
            version=args.version,
            num_shards=parse_shards(args.num_shards) if args.num_shards else None,
            max_shard_size_bytes=parse_size(args.max_shard_size) if args.max_shard_size else None,
            shuffle=args.shuffle,
            seed=args.seed,
            validation=parse_share(args.validation) if args.validation else 0,
            max_records_per_split=args.max_records_per_split,
            compression=args.compression,
            example_format=args.example_format,
            record_type=args.record_type,
            shape_features=args.shape_features,
            index_feature=args.index_feature,
            on_bad_record=args.on_bad_record,
            max_bad_fraction=args.max_bad_fraction,
            allow_nan=args.allow_nan,
            rule=args.rule,
            features=dict(parse_feature_option(text) for text in args.feature),
            split_by=args.split_by,
            stratify=args.stratify,
            group=args.group,
            folds=args.folds,
            preprocess=args.preprocess,
            materialize=args.materialize,
        )
    )


def summary(plan: Plan) -> dict[str, Any]:
    """What a person wants to know of a plan, as JSON values."""
    slots = {slot.feature: slot for slot in plan.layout.slots} if plan.fixed else {}
    raw_stride = layout_of(plan.preprocess.raw_features).stride if plan.preprocess else None
    return {
        "name": plan.name,
        "version": plan.version,
        "digest": plan.digest(),
        "shuffle": plan.shuffle,
        "seed": plan.seed,
        "compression": plan.compression,
        "bytes_in": sum(part.size_bytes for part in plan.source_files()),
        "bytes_out": plan.num_bytes,
        "files_in": len(plan.source_files()),
        "splits": [
            {
                "name": split.name,
                "records": split.count,
                "shards": split.num_shards,
                "bytes_a_shard": max(split.shard_bytes)
                if split.shard_bytes
                else -(-split.count // split.num_shards) * plan.stride,
            }
            for split in plan.splits
        ],
        "record": {
            "type": plan.record_type,
            "bytes": plan.stride if plan.fixed else None,
            "raw_bytes": raw_stride or (plan.stride if plan.fixed else None),
            "longest_bytes": plan.stride
            if plan.fixed
            else max(split.longest_bytes for split in plan.splits),
            "features": [
                {
                    "name": feature.name,
                    "encoding": feature.encoding,
                    "dtype": feature.dtype,
                    "shape": list(feature.shape),
                    "num_classes": feature.num_classes,
                    "sequence": bool(feature.sequence),
                    "offset": slots[feature.name].offset if slots else None,
                    "bytes": feature.value_bytes,
                }
                for feature in plan.features
            ],
        },
        "estimated_peak_memory_bytes": estimate_peak_bytes(plan),
    }


def describe(plan: Plan) -> str:
    """The same as text."""
    told = summary(plan)
    order = f"shuffled by record, seed {plan.seed}" if plan.shuffle == "record" else "as the source"
    lines = [
        f"{plan.name} {plan.version}",
        f"  in       {told['files_in']} files, {format_size(told['bytes_in'])}",
        f"  out      {plan.num_records:,} records, {format_size(told['bytes_out'])}"
        + (" before gzip" if plan.compression == "gzip" else ""),
        f"  order    {order}",
    ]
    for split in told["splits"]:
        lines.append(
            f"  split    {split['name']}: {split['records']:,} records in {split['shards']} shards "
            f"of {format_size(split['bytes_a_shard'])}"
        )
    if plan.shuffle == "none" and any(split.source != split.name for split in plan.splits):
        lines.append("  note     validation is the end of train in the order of its files")
    if plan.division is not None:
        way = {
            "hash": "by hash of the record's number",
            "stratify": f"the same share of each {plan.division.column}",
            "group": f"by hash of {plan.division.column}, whose values stay together",
        }[plan.division.by]
        lines.append(f"  divide   validation is {plan.division.share:g} of train, {way}")
    if plan.folds:
        counts = fold_counts(plan.folds, {split.name: split.count for split in plan.splits})
        for name, count in counts.items():
            lines.append(f"  fold     {name}: {count:,} records, read from train's shards")
    if plan.preprocess is not None:
        chosen, raw = plan.preprocess, told["record"]["raw_bytes"]
        lines.append(
            f"  prepare  {chosen.module}, analysed over train; {chosen.materialize} records"
        )
        if chosen.materialize == "transformed":
            lines.append(
                f"           {plan.stride / raw:.2f} times as large as the raw ones: {plan.stride} "
                f"for {raw} bytes a record, {format_size(plan.num_records * (plan.stride - raw))} "
                "more in all"
            )
    if plan.fixed:
        lines.append(f"  record   {plan.stride} bytes, every one of the same layout:")
    else:
        kind = {"example": "Example", "sequence_example": "SequenceExample"}[plan.record_type]
        lines.append(
            f"  record   {kind} of {plan.num_bytes / max(1, plan.num_records):,.0f} bytes on "
            f"average, {told['record']['longest_bytes']:,} at most:"
        )
    for feature in told["record"]["features"]:
        shape = "x".join(map(str, feature["shape"])) or "scalar"
        classes = f", {feature['num_classes']} classes" if feature["num_classes"] else ""
        place = f" at {feature['offset']}" if plan.fixed else ""
        place = " a step" if feature["sequence"] else place
        lines.append(
            f"    {feature['name']}: {feature['encoding']}, {feature['dtype']} {shape}{classes}, "
            f"{feature['bytes']} bytes{place}"
        )
    lines.append(f"  memory   about {format_size(told['estimated_peak_memory_bytes'])} a process")
    lines.append(f"  digest   {told['digest']}")
    return "\n".join(lines)


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Plans and prints."""
    plan = plan_from_args(args)
    print(json.dumps(summary(plan), indent=1) if args.json else describe(plan))
    return 0
