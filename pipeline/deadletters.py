"""Bad records, set aside: where each stood, why it is bad, and its raw bytes.

What is known of them comes with the shards' receipts, a number and a reason each; their bytes are
read again from the source. So nothing depends on which worker met them, and a run that goes on
after it was stopped has all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from . import files, protos
from .plan import Plan
from .ragged import Ragged
from .read import inflate_file, split_reader
from .source import place_of
from .write import Receipt

FOLDER = "dead_letters"
PREFIX = "records.tfrecord"


def dead_letters(_: Any, plan: Plan, scratch: str, receipts: list[Receipt]) -> Iterator[bytes]:
    """The bad records of all shards as serialized Examples, by split and number.

    Each holds `split`, `number` (in the source split), `reason`, and for each column `file` (by
    its name in the input), `record` (in that file) and `bytes` (big-endian, as they stand there).
    Of a list, file and record are those of its length.
    """
    by_split: dict[str, list[tuple[int, str]]] = {}
    for receipt in receipts:
        by_split.setdefault(receipt.split, []).extend(receipt.bad)
    for split in plan.splits:
        bad = sorted(by_split.get(split.name, []))
        if not bad:
            continue
        source = plan.sources[split.source]
        parts = {part for of_column in source.values() for part in of_column if part.gzip}
        inflated = dict(inflate_file(part, scratch) for part in parts)
        reader = split_reader(plan, split.source, inflated)
        for number, reason in bad:
            row = reader.take([number])
            message = protos.new_example()
            feature = message.features.feature
            feature["split"].bytes_list.value.append(split.name.encode())
            feature["number"].int64_list.value.append(number)
            feature["reason"].bytes_list.value.append(reason.encode())
            for column, of_column in reader.files.items():
                part, record = place_of(of_column, number)
                feature[f"{column}/file"].bytes_list.value.append(part.name.encode())
                feature[f"{column}/record"].int64_list.value.append(record)
                values = row.columns[column]
                data = (values.values if isinstance(values, Ragged) else values).tobytes()
                feature[f"{column}/bytes"].bytes_list.value.append(data)
            yield message.SerializeToString(deterministic=True)


class WriteDeadLetters(beam.PTransform):  # type: ignore[misc]  # Beam has no types
    """All receipts of a conversion (as a side input) to one file of bad records.

    What comes out is the file's path. It is written by Beam's own `WriteToTFRecord`: bad records
    are few.
    """

    def __init__(self, plan: Plan, folder: str, *, scratch: str, receipts: Any) -> None:
        """Takes where to write, and the receipts of all shards, kept ones too."""
        super().__init__()
        self._plan, self._folder, self._scratch = plan, folder, scratch
        self._receipts = receipts

    def expand(self, root: Any) -> Any:
        """One element makes them all, in order."""
        return (
            root
            | "One" >> beam.Create([None])
            | "Collect"
            >> beam.FlatMap(
                dead_letters, self._plan, self._scratch, beam.pvalue.AsList(self._receipts)
            )
            | "Write" >> beam.io.WriteToTFRecord(files.join(self._folder, PREFIX), num_shards=1)
        )
