"""The first pass over text: tensorflow-transform counts the words of the train split on Beam."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from . import engine, files
from .errors import InputError, UsageError
from .source import check_name
from .text import Batch, LineFormat, Part, place_of_line, read_batches
from .tokenizer import Tokenizer

WORDS, LABEL = "words", "label"
# Steps of a part.
COUNTED, WRITTEN = "counted", "written"
# Where tft.vocabulary finds no word at all, it makes one up, which begins with these letters.
NO_WORD = "49d0cd50-04bb-48c0-bc6f-5b575dce351a"


@dataclass(frozen=True, kw_only=True)
class TokenOptions:
    """What becomes of text.

    Attributes:
      texts: `FILE` or `SPLIT=FILE`, which may be a pattern; the vocabulary is that of train.
      to: A local folder that does not exist or is empty.
      name: Of the dataset; None takes the folder's.
      form: What a line holds.
      tokenizer: How texts are cut.
      min_count: A word that train has less often is not in the vocabulary.
      vocabulary_size: Words of the vocabulary at most; None sets no limit.
      skip_bad: Sets bad lines aside, where they would end the run.
      overwrite: Replaces what an earlier run wrote.
    """

    texts: Sequence[str]
    to: str
    name: str | None = None
    form: LineFormat = field(default_factory=LineFormat)
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    min_count: int = 1
    vocabulary_size: int | None = None
    skip_bad: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks each field."""
        if self.name is not None:
            check_name("name", self.name)
        if self.min_count < 1:
            raise UsageError(f"min_count {self.min_count}: wanted 1 or more")
        if self.vocabulary_size is not None and not 1 <= self.vocabulary_size < 1 << 31:
            raise UsageError(f"vocabulary_size {self.vocabulary_size}: wanted 1 or more")
        if not files.is_local(self.to):
            raise UsageError(f"{self.to}: wanted a folder of this machine; convert writes anywhere")


def good_batches(part: Part, options: TokenOptions) -> Iterator[Batch]:
    """The batches of a part; a bad line ends them unless it is to be set aside."""
    for batch in read_batches(part, options.form):
        if batch.bad and not options.skip_bad:
            raise bad_line(part, *batch.bad[0])
        yield batch


def bad_line(part: Part, line: int, reason: str) -> InputError:
    """What is wrong with the n-th line of a part, and what to do."""
    return InputError(
        f"{place_of_line(part, line)}: {reason}; mend the file, name its --format, or set such "
        "lines aside with --on_bad_record skip"
    )


def mark_path(folder: str, step: str, part: Part) -> str:
    """The file that says that a part has passed a step."""
    return files.join(folder, f".{step}-{part.split}-{part.number:05d}")


def _strings(values: list[bytes]) -> pa.Array:
    flat = pa.array(values, pa.large_binary())
    return pa.LargeListArray.from_arrays(np.arange(len(values) + 1), flat)


def _record_batch(batch: Batch, labelled: bool) -> pa.RecordBatch:
    columns = {"text": batch.texts, **({LABEL: batch.labels} if labelled else {})}
    return pa.record_batch([*map(_strings, columns.values())], names=list(columns))


def _record_batches(options: TokenOptions, folder: str, part: Part) -> Iterator[pa.RecordBatch]:
    for batch in good_batches(part, options):
        if batch.texts:
            yield _record_batch(batch, options.form.labelled)
    files.write_bytes(mark_path(folder, COUNTED, part), b"")


def _vocabularies(options: TokenOptions, inputs: dict[str, Any]) -> dict[str, Any]:
    """What TFX calls a preprocessing_fn; its analysers are all that counts here."""
    import tensorflow_transform as tft

    words = options.tokenizer.split(inputs["text"]).to_sparse()
    tft.vocabulary(
        words,
        top_k=options.vocabulary_size,
        frequency_threshold=options.min_count if options.min_count > 1 else None,
        vocab_filename=WORDS,
    )
    if LABEL in inputs:
        tft.vocabulary(inputs[LABEL], vocab_filename=LABEL)
    return {WORDS: words}


def _analysis(options: TokenOptions, parts: list[Part], folder: str, target: str, root: Any) -> Any:
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import schema_utils
    from tfx_bsl.tfxio import tensor_adapter, tensor_representation_util

    names = ["text", LABEL] if options.form.labelled else ["text"]
    schema = schema_utils.schema_from_feature_spec(
        {name: tf.io.FixedLenFeature([], tf.string) for name in names}
    )
    config = tensor_adapter.TensorAdapterConfig(
        _record_batch(Batch([], [], [], []), options.form.labelled).schema,
        tensor_representation_util.InferTensorRepresentationsFromSchema(schema),
    )
    batches = (
        root
        | "Parts" >> beam.Create(parts)
        | "Spread" >> beam.Reshuffle()
        | "ReadLines" >> beam.FlatMap(functools.partial(_record_batches, options, folder))
    )  # pa.RecordBatch
    transform_fn = (batches, config) | "CountWords" >> tft_beam.AnalyzeDataset(
        functools.partial(_vocabularies, options)
    )
    return transform_fn | "WriteTransformFn" >> tft_beam.WriteTransformFn(target)


def count_words(
    options: TokenOptions, parts: list[Part], folder: str, beam_options: Any
) -> tuple[list[str], list[str]]:
    """The words of the train split, the most frequent first; and its labels in order."""
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam

    with tempfile.TemporaryDirectory() as scratch:
        target = os.path.join(scratch, "analysis")
        with tft_beam.Context(temp_dir=scratch):
            build = functools.partial(_analysis, options, parts, folder, target)
            engine.run(build, beam_options)
        found = tft.TFTransformOutput(target)

        def words_of(name: str) -> list[str]:
            content = files.read_bytes(found.vocabulary_file_by_name(name)).decode()
            return content.removesuffix("\n").split("\n")

        words = words_of(WORDS)
        labels = words_of(LABEL) if options.form.labelled else []
    if words[0].startswith(NO_WORD) or not words[0]:
        raise InputError(
            f"{', '.join(part.path for part in parts[:3])}: no word stands {options.min_count} "
            "times or more in the train split; lower --min_count, or give more text"
        )
    # Numbers in their own order, so that the label 10 is class 10 where 0 to 9 are there.
    numeric = all(label.isdecimal() for label in labels)
    return words, sorted(labels, key=(lambda label: (int(label), label)) if numeric else None)
