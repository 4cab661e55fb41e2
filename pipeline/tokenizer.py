"""Text to words and numbers: one TensorFlow graph for pipeline, trainer and server.

It is made of TensorFlow's own string operations (RE2, ICU), so a server needs nothing else:
tensorflow_text's would have to be linked into it, and those of Python cannot be in a graph. What
it depends on lies beside the tokens as `tokenizer.json` and `vocabulary.txt`.

    0           nothing: what shorter lists are padded with
    1 … V       the words of the vocabulary, the most frequent first
    V + 1 …     the buckets of all other words, by a hash that is the same everywhere
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from . import files
from .errors import DatasetError, UsageError

TOKENIZER_JSON, VOCABULARY = "tokenizer.json", "vocabulary.txt"
TOKENIZER_FORMAT = 1
Unit = Literal["words", "characters", "spaces"]


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """How text is cut.

    Attributes:
      unit: "words" are runs of letters, marks and digits, and any other visible character is a
        word of its own; "characters" are single ones; "spaces" takes what stands between spaces.
      lower: Whether upper case becomes lower case.
      oov_buckets: Numbers for words that are not in the vocabulary.
    """

    unit: Unit = "words"
    lower: bool = True
    oov_buckets: int = 1

    def __post_init__(self) -> None:
        """Checks each field."""
        if self.unit not in get_args(Unit):
            raise UsageError(f"unit {self.unit!r}: wanted {' or '.join(get_args(Unit))}")
        if not 1 <= self.oov_buckets < 1 << 20:
            raise UsageError(
                f"oov_buckets {self.oov_buckets}: wanted 1 or more, below 2**20: a word that is "
                "not in the vocabulary needs a number, too"
            )

    def split(self, texts: Any) -> Any:
        """Words, a ragged string[n, None], of string[n] in UTF-8."""
        import tensorflow as tf

        if self.lower:
            texts = tf.strings.lower(texts, encoding="utf-8")
        # What tf.strings.split takes for a space is that of ASCII alone.
        texts = tf.strings.regex_replace(texts, r"[\pZ\p{Cc}]+", " ")
        if self.unit == "characters":
            return tf.strings.unicode_split(tf.strings.regex_replace(texts, " ", ""), "UTF-8")
        if self.unit == "words":
            texts = tf.strings.regex_replace(texts, r"([^\pL\pM\pN\p{Cf} ])", r" \1 ")
        return tf.strings.split(texts)

    def to_json(self) -> str:
        """As `tokenizer.json` has it."""
        value = {"format": TOKENIZER_FORMAT, **dataclasses.asdict(self)}
        return json.dumps(value, indent=1) + "\n"


def load_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer that lies in a folder.

    Raises:
      DatasetError: None is there, or one of another version.
    """
    path = files.join(folder, TOKENIZER_JSON)
    try:
        value = json.loads(files.read_bytes(path))
        if value.pop("format") != TOKENIZER_FORMAT:
            raise ValueError(f"wanted format {TOKENIZER_FORMAT}")
        return Tokenizer(**value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f"{path}: no tokenizer of ours ({error}); make the tokens again") from (
            error
        )


def word_ids(tokenizer: Tokenizer, vocabulary: str) -> Any:
    """A module whose call turns string[n] into numbers, a ragged int64[n, None].

    Args:
      tokenizer: How text is cut.
      vocabulary: Path of the words, one a line; becomes an asset where the module is saved.
    """
    import tensorflow as tf

    class WordIds(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        """The vocabulary's table, and the rule before it."""

        def __init__(self) -> None:
            super().__init__()
            self.words = tf.lookup.TextFileInitializer(
                vocabulary,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticVocabularyTable(self.words, tokenizer.oov_buckets)

        def __call__(self, texts: Any) -> Any:
            return tf.ragged.map_flat_values(
                lambda words: self.table.lookup(words) + 1, tokenizer.split(texts)
            )

    return WordIds()
