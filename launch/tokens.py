"""`recordmill tokens`: text to IDX files of tokens and lengths, ready for `convert`."""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .progress import progress
from .quiet import quiet_stderr

if TYPE_CHECKING:
    from pipeline.tokens import Tokens
    from pipeline.vocabulary import TokenOptions

POLL_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add = parser.add_argument
    add(
        "texts",
        nargs="+",
        metavar="TEXT",
        help="FILE, or SPLIT=FILE, plain or in gzip, or a pattern; the vocabulary is that of train",
    )
    add("--to", required=True, metavar="DIR", help="folder for the files; convert --input DIR")
    add("--name", help="of the dataset (default: the folder's)")
    add(
        "--format",
        default="text",
        choices=("text", "tsv", "jsonl"),
        help="a text a line; label<TAB>text; or a JSON object a line (default: text)",
    )
    add("--text_field", default="text", metavar="NAME", help="of a JSON object (default: text)")
    add("--label_field", metavar="NAME", help="of a JSON object (default: no label)")
    add(
        "--unit",
        default="words",
        choices=("words", "characters", "spaces"),
        help="what a token is; spaces: what stands between them (default: words)",
    )
    add("--keep_case", action="store_true", help="do not make upper case lower")
    add(
        "--min_count",
        type=int,
        default=1,
        metavar="N",
        help="leave words out of the vocabulary that train has less often (default: 1)",
    )
    add("--vocabulary_size", type=int, metavar="N", help="the most frequent words (default: all)")
    add(
        "--oov_buckets",
        type=int,
        default=1,
        metavar="N",
        help="numbers for words that are not in the vocabulary, by hash (default: 1)",
    )
    add(
        "--on_bad_record",
        default="fail",
        choices=("fail", "skip"),
        help="end the run, or count and leave out lines that cannot be read (default: fail)",
    )
    add("--overwrite", action="store_true", help="replace what an earlier run wrote to DIR")
    add("--quiet", action="store_true", help="no progress, no summary")


def _options(args: argparse.Namespace) -> TokenOptions:
    from pipeline.text import LineFormat
    from pipeline.tokenizer import Tokenizer
    from pipeline.vocabulary import TokenOptions

    return TokenOptions(
        texts=args.texts,
        to=args.to,
        name=args.name,
        form=LineFormat(args.format, args.text_field, args.label_field),
        tokenizer=Tokenizer(unit=args.unit, lower=not args.keep_case, oov_buckets=args.oov_buckets),
        min_count=args.min_count,
        vocabulary_size=args.vocabulary_size,
        skip_bad=args.on_bad_record == "skip",
        overwrite=args.overwrite,
    )


@contextmanager
def _shown(total: int, count: Callable[[], int], *, quiet: bool) -> Iterator[None]:
    """A bar over the parts of the text, each of which is read twice."""
    done = threading.Event()

    def watch() -> None:
        with progress(total, "tokens", "parts", quiet=quiet) as bar:
            while not done.wait(POLL_SECONDS):
                bar.update(count() - bar.n)
            bar.update(count() - bar.n)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _print_summary(made: Tokens, seconds: float) -> None:
    for name, split in made.splits.items():
        share = split.unknown / max(1, split.tokens)
        print(
            f"{name}: {split.records:,} texts, {split.tokens:,} tokens, {share:.2%} of them not in "
            "the vocabulary"
        )
    for name, split in made.splits.items():
        if split.bad:
            print(f"{name}: {split.bad:,} bad lines set aside, such as")
            print("\n".join(f"  {place}" for place in split.named))
    print(f"{made.folder}: {made.vocabulary:,} words in {seconds:.1f} s")
    print(f"next: recordmill convert --input {made.folder} --output …")


def run(args: argparse.Namespace, beam_args: list[str]) -> int:
    """Counts, writes and tells."""
    # TensorFlow's start-up notices would stand between the user and the first line of ours.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = _options(args)
    with quiet_stderr():
        import tensorflow_transform.beam  # noqa: F401  # imported later, it would write then

        from pipeline.tokens import make_tokens
    started = time.monotonic()
    made = make_tokens(
        options,
        beam_args=beam_args,
        watch=lambda total, count: _shown(total, count, quiet=args.quiet),
    )
    if not args.quiet:
        _print_summary(made, time.monotonic() - started)
    return 0
