"""Convert: a plan to a finished dataset. This file only wires."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.metrics import Metrics

from . import deadletters, duplicates, engine, files, manifest, output, statistics
from .carry import copy_carried
from .deadletters import WriteDeadLetters
from .duplicates import DUPLICATES, FindDuplicates
from .encode import EncodeExamples, transform_of
from .errors import InputError, OutputError
from .manifest import Manifest
from .options import PlanOptions
from .plan import Plan, Shard
from .planning import make_plan
from .read import METRICS, ReadFromIdx, Shards, check_unchanged
from .source import SourceFile
from .statistics import MergeStatistics, Statistics, histogram_step
from .write import Receipt, WriteToTFRecord, digest_file, without_statistics

COMPRESSION = {"none": CompressionTypes.UNCOMPRESSED, "gzip": CompressionTypes.GZIP}


class _SortOut(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Shards that an earlier run finished come out as their receipts, tagged `kept`."""

    def __init__(self, folder: str, plan: Plan, with_statistics: bool) -> None:
        self._folder, self._plan, self._with_statistics = folder, plan, with_statistics
        self._kept = Metrics.counter(METRICS, "shards_kept")

    def process(self, shard: Shard) -> Iterator[Any]:
        receipt = output.kept_receipt(
            self._folder, self._plan, shard, with_statistics=self._with_statistics
        )
        if receipt is None:
            yield shard
        else:
            self._kept.inc()
            yield beam.pvalue.TaggedOutput("kept", receipt)


def digest_source(part: SourceFile) -> tuple[str, int, str]:
    """`(name, bytes, sha256)` of a source file, as it is stored."""
    check_unchanged(part)
    num_bytes, sha256, _ = digest_file(part.path)
    check_unchanged(part)
    return part.name, num_bytes, sha256


def _publish(
    _: Any,
    folder: str,
    plan: Plan,
    receipts: list[Receipt],
    sources: list[tuple[str, int, str]],
    found: Statistics | None,
    dead_letters: list[str],
    found_duplicates: list[duplicates.Found] | None,
) -> None:
    for part in plan.source_files():
        check_unchanged(part)
    _check_bad(plan, receipts)
    beside: dict[str, str] = {}
    for path in dead_letters:
        name = f"{deadletters.FOLDER}/{path.rpartition('/')[2]}"
        beside[name] = digest_file(path)[1]
        files.move(path, files.join(folder, name))
    if found is not None:
        counts = dict.fromkeys((split.name for split in plan.splits), 0)
        for receipt in receipts:
            counts[receipt.split] += receipt.records
        beside |= statistics.write_statistics(folder, plan.features, counts, found)
    if plan.preprocess is not None:
        from .preprocess import transform_files

        beside |= transform_files(folder)
    beside |= copy_carried(plan.carried, folder)
    counters: dict[str, int] = {}
    if found_duplicates is not None:
        names = [split.name for split in plan.splits]
        duplicate = duplicates.summarize(found_duplicates, names)
        path, counters = files.join(folder, DUPLICATES), duplicate[0]
        manifest.write_json(path, duplicates.duplicates_json(duplicate))
        beside[DUPLICATES] = digest_file(path)[1]
    manifest.publish(folder, manifest.make_manifest(plan, receipts, sources, beside, counters))
    output.clean(folder)


def _check_bad(plan: Plan, receipts: list[Receipt]) -> None:
    bad = sum(len(receipt.bad) for receipt in receipts)
    if bad > plan.max_bad:
        first = next(receipt for receipt in receipts if receipt.bad)
        number, reason = first.bad[0]
        raise InputError(
            f"{bad} of {plan.num_records} records are bad, more than --max_bad_fraction "
            f"{plan.max_bad_fraction:g} allows, such as record {number} of {first.split}: "
            f"{reason}; look at the input, or allow more"
        )


class WriteShards(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """Makes shards of a plan: read, encode, write; a `Receipt` for each.

    Args:
      plan: That the shards are of.
      folder: Where they are written.
      scratch: A folder for inflated files.
      histogram_steps: See `EncodeExamples`.
      transform: The folder that holds `transform_fn/`; None is where the shards are written.
      note: Called with each receipt as soon as its shard is complete, not when all are.
    """

    def __init__(
        self,
        plan: Plan,
        folder: str,
        *,
        scratch: str,
        histogram_steps: Mapping[str, int] | None = None,
        transform: str | None = None,
        note: Callable[[Receipt], Receipt] | None = None,
    ) -> None:
        """Takes a plan and its folders."""
        super().__init__()
        self._note = note
        self._plan, self._folder, self._scratch = plan, folder, scratch
        self._transform = transform or folder
        self._steps = histogram_steps

    def expand(self, shards: Any) -> Any:
        """A branch a split, for each has a prefix of its own."""
        plan = self._plan
        names = [split.name for split in plan.splits]
        encoded = (
            shards
            | "ReadFromIdx" >> ReadFromIdx(plan, scratch=self._scratch)
            | "EncodeExamples"
            >> EncodeExamples(
                plan.features,
                histogram_steps=self._steps,
                rules=plan.rules,
                transform=transform_of(plan, self._transform),
            )  # (Shard, framed blocks)
            | "BySplit" >> beam.Partition(lambda e, _: names.index(e[0].split), len(names))
        )
        written = [
            part
            | f"WriteToTFRecord-{name}"
            >> WriteToTFRecord(
                files.join(self._folder, plan.prefix(name)),
                compression_type=COMPRESSION[plan.compression],
                index=not plan.fixed,
            )
            for name, part in zip(names, encoded, strict=True)
        ]
        if self._note is not None:
            # Before the branches meet: a runner may finish all of them first.
            written = [
                part | f"Note-{name}" >> beam.Map(self._note)
                for name, part in zip(names, written, strict=True)
            ]
        return written | "Written" >> beam.Flatten()


class Convert(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """Writes all shards of a plan, then the manifest.

    Args:
      plan: What to write.
      folder: The dataset's own folder, `<output>/<name>/<version>`.
      with_statistics: Whether to take statistics on the way.
      check_duplicates: Whether to look for equal records, when all shards are written.
    """

    def __init__(
        self,
        plan: Plan,
        folder: str,
        *,
        with_statistics: bool = True,
        check_duplicates: bool = False,
    ) -> None:
        """Takes a plan and the folder that `output.prepare` made ready."""
        super().__init__()
        self._check_duplicates = check_duplicates
        self._plan, self._folder, self._with_statistics = plan, folder, with_statistics

    def expand(self, pipeline: Any) -> Any:
        """The graph's size depends on splits and files, not on records or shards."""
        plan, folder = self._plan, self._folder
        steps = None
        if self._with_statistics:
            steps = {split.name: histogram_step(split.count) for split in plan.splits}
        shards = (
            pipeline
            | "Shards" >> Shards(plan)  # Shard
            | "SortOut"
            >> beam.ParDo(_SortOut(folder, plan, self._with_statistics)).with_outputs(
                "kept", main="todo"
            )
        )
        written = shards.todo | "WriteShards" >> WriteShards(
            plan,
            folder,
            scratch=output.state_path(folder, "inflated"),
            histogram_steps=steps,
            note=functools.partial(output.save_receipt, folder),
        )  # Receipt
        receipts = (shards.kept, written) | "Receipts" >> beam.Flatten()
        found: Any = None
        if self._with_statistics:
            found = beam.pvalue.AsSingleton(
                receipts
                | "Statistics" >> beam.Map(lambda receipt: (receipt.split, receipt.statistics))
                | "MergeStatistics" >> beam.CombineGlobally(MergeStatistics())
            )
        bare = receipts | "Bare" >> beam.Map(without_statistics)
        dead_letters: Any = []
        if plan.on_bad_record == "skip":
            dead_letters = beam.pvalue.AsList(
                pipeline
                | "WriteDeadLetters"
                >> WriteDeadLetters(
                    plan,
                    output.state_path(folder, deadletters.FOLDER),
                    scratch=output.state_path(folder, "inflated"),
                    receipts=bare,
                )
            )
        found_duplicates: Any = None
        if self._check_duplicates:
            found_duplicates = beam.pvalue.AsList(
                receipts
                | "Places" >> beam.Map(lambda receipt: (receipt.split, receipt.index, receipt.path))
                | "FindDuplicates" >> FindDuplicates(plan)
            )
        sources = (
            pipeline
            | "SourceFiles" >> beam.Create(plan.source_files())
            | "SpreadSourceFiles" >> beam.Reshuffle()
            | "DigestSources" >> beam.Map(digest_source)  # (name, bytes, sha256)
        )
        return (
            pipeline
            | "Once" >> beam.Create([None])
            | "Publish"
            >> beam.Map(
                _publish,
                folder,
                plan,
                beam.pvalue.AsList(bare),
                beam.pvalue.AsList(sources),
                found,
                dead_letters,
                found_duplicates,
            )
        )


@dataclass(frozen=True)
class Conversion:
    """What a conversion came to.

    Attributes:
      folder: The dataset's folder.
      kept: Shards that were finished before and taken over.
      counters: Beam's counters of this package, of this run alone.
    """

    folder: str
    manifest: Manifest
    kept: int
    counters: dict[str, int]


Watch = Callable[[Plan, str], AbstractContextManager[None]]


def _unwatched(_plan: Plan, _folder: str) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def convert(
    *,
    output: str,
    beam_args: Sequence[str] = (),
    overwrite: bool = False,
    watch: Watch = _unwatched,
    with_statistics: bool = True,
    check_duplicates: bool = False,
    **options: Any,
) -> Conversion:
    """Plans and converts; what an earlier run of the same plan finished is kept.

    Args:
      output: The folder under which `<name>/<version>/` is made.
      beam_args: Flags for Beam's PipelineOptions; none runs on this machine.
      overwrite: Replaces a dataset of another plan.
      watch: Given the plan and the dataset's folder, a context in which the pipeline runs.
      with_statistics: Takes statistics on the way, for `stats.json` and `stats.pb`.
      check_duplicates: Lists equal records in `duplicates.json`.
      **options: The fields of `PlanOptions`.

    Raises:
      RecordmillError: Bad input, an output that must not be lost, a failure of the runner.
    """
    return run_plan(
        make_plan(PlanOptions(**options)),
        output,
        beam_args=beam_args,
        overwrite=overwrite,
        watch=watch,
        with_statistics=with_statistics,
        check_duplicates=check_duplicates,
    )


def run_plan(
    plan: Plan,
    output_folder: str,
    *,
    beam_args: Sequence[str] = (),
    overwrite: bool = False,
    watch: Watch = _unwatched,
    with_statistics: bool = True,
    check_duplicates: bool = False,
    wait: engine.Wait = engine.wait_until_finish,
) -> Conversion:
    """Converts a plan; see `convert`, and `engine.run` for `wait`."""
    folder = files.join(output_folder, plan.folder)
    parallel = sum(split.num_shards for split in plan.splits)
    options = engine.make_options(beam_args, plan.num_bytes, parallel)
    output.check_ours(folder)
    with output.locked(folder):
        finished = output.prepare(folder, plan, overwrite=overwrite)
        if finished is not None:
            manifest.check_shards(folder, finished)
            if check_duplicates and DUPLICATES not in finished.files:
                raise OutputError(
                    f"{folder}: is finished already, without a look for duplicates; run recordmill "
                    "verify --duplicates, or convert with --overwrite"
                )
            output.clean(folder)
            return Conversion(folder, finished, parallel, {})
        if plan.preprocess is not None:
            from .preprocess import analyze

            analyze(plan, folder, options)
        convert = Convert(
            plan, folder, with_statistics=with_statistics, check_duplicates=check_duplicates
        )
        with watch(plan, folder):
            result = engine.run(lambda p: p | "Convert" >> convert, options, wait)
        counters = engine.counters(result)
        return Conversion(
            folder, manifest.load_manifest(folder), counters.get("shards_kept", 0), counters
        )
