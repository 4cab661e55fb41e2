"""Rebuilds what is damaged of a dataset, and nothing else, to the same bytes.

A shard is a function of the plan and the source, so a broken one is made again beside the dataset,
compared with the digest that the manifest has of it, and only then put in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apache_beam as beam

from . import conversion, engine, files, output, verify
from .duplicates import DUPLICATES
from .errors import DatasetError, InputError
from .manifest import MANIFEST, MANIFEST_COPY, Manifest, ShardEntry, metadata_files
from .plan import Plan, Shard
from .statistics import STATS_JSON
from .write import digest_file

Shards = list[tuple[Shard, ShardEntry]]


@dataclass(frozen=True)
class Repair:
    """What was done.

    Attributes:
      rebuilt: Files that were made anew.
      removed: Files that were no part of the dataset, though named like shards.
      report: What `verify` says of the dataset now.
    """

    rebuilt: tuple[str, ...]
    removed: tuple[str, ...]
    report: verify.Report


def rebuild_shards(
    folder: str, plan: Plan, shards: Sequence[Shard], beam_args: Sequence[str]
) -> str:
    """Makes shards of a plan in a folder of their own, and returns that folder."""
    target = output.state_path(folder, "rebuilt")
    options = engine.make_options(beam_args, plan.num_bytes, len(shards))

    def build(root: beam.Pipeline) -> None:
        (
            root
            | "Broken" >> beam.Create(list(shards))
            | "Spread" >> beam.Reshuffle()
            | "Rebuild"
            >> conversion.WriteShards(
                plan, target, scratch=output.state_path(folder, "inflated"), transform=folder
            )
        )

    engine.run(build, options)
    return target


def _rebuild(
    folder: str,
    manifest: Manifest,
    source: str,
    rule: str | None,
    damaged: Shards,
    beside: Sequence[str],
    beam_args: Sequence[str],
) -> None:
    """Makes shards, and files that depend on all records, and puts them in their places."""
    plan, differences = verify.rebind(manifest, source)
    plan = plan.with_rule(rule)
    if differences:
        raise InputError(
            f"{differences[0]}; nothing can be rebuilt from it: give --source what was converted"
        )
    digests = {entry.file: entry.sha256 for _, entry in damaged}
    if beside:
        # What depends on all records, such as statistics, takes a whole conversion.
        made = conversion.run_plan(
            plan,
            output.state_path(folder, "rebuilt"),
            beam_args=beam_args,
            with_statistics=STATS_JSON in manifest.files,
            check_duplicates=DUPLICATES in manifest.files,
        ).folder
        digests |= {name: manifest.files[name] for name in beside}
    else:
        made = rebuild_shards(folder, plan, [shard for shard, _ in damaged], beam_args)
    for name, sha256 in digests.items():
        path = files.join(made, name)
        if digest_file(path)[1] != sha256:
            raise DatasetError(
                f"{name}: was made again from the source, but came out otherwise than it was "
                "written: another version of recordmill or of a library made it (see versions in "
                "the manifest); install those, or convert again into another --output"
            )
        files.move(path, files.join(folder, name))


def repair_dataset(
    folder: str,
    source: str,
    *,
    rule: str | None = None,
    beam_args: Sequence[str] = (),
    workers: int | None = None,
    seen: Callable[[int], object] = lambda num_bytes: None,
) -> Repair:
    """Checks a dataset, rebuilds what is broken or missing, and checks it again.

    Args:
      folder: The dataset's own.
      source: The folder that was converted, wherever it lies now.
      rule: That the records were chosen by, if any: `path/to/module.py:function`.
      beam_args: Flags for Beam's PipelineOptions.
      workers: Of the checks; None takes as many as there are processors.
      seen: Told of bytes as they are checked.

    Raises:
      DatasetError: Neither the manifest nor its copy can be read, or a rebuilt file differs.
      InputError: The source is another one than was converted.
    """
    with output.locked(folder):
        manifest, problems = verify.find_manifest(folder)
        bad_names = [finding.file for finding in verify.check_metadata(folder, manifest)]
        shards = verify.all_shards(manifest)
        checked = verify.check_shards_content(folder, manifest, shards, workers=workers, seen=seen)
        damaged = [pair for pair, one in zip(shards, checked, strict=True) if one.findings]
        beside = [name for name in bad_names if name in manifest.files]
        try:
            if damaged or beside:
                _rebuild(folder, manifest, source, rule, damaged, beside, beam_args)
        finally:
            for name in ("rebuilt", "inflated"):
                files.delete_tree(output.state_path(folder, name))
        made = metadata_files(manifest)
        made[MANIFEST] = made[MANIFEST_COPY]
        bad_manifests = [finding.file for finding in problems]
        for name in [*bad_names, *bad_manifests]:
            if name in made:
                files.write_bytes(files.join(folder, name), made[name])
        strays = verify.stray_files(folder, manifest)
        files.delete([files.join(folder, name) for name in strays])
    return Repair(
        (*(entry.file for _, entry in damaged), *bad_names, *bad_manifests),
        tuple(strays),
        verify.verify_dataset(folder, workers=workers),
    )
