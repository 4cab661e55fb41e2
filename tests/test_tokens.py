"""`recordmill tokens`: text to IDX files, and from there to SequenceExamples and to serving."""

import gzip
import json
import tomllib
from pathlib import Path

import laws
import numpy as np
import pytest
from commands import Command

import pipeline
from pipeline import idx, text, tokens, vocabulary
from pipeline.errors import DatasetError, InputError, OutputError, UsageError
from pipeline.text import LineFormat
from pipeline.tokenizer import Tokenizer, load_tokenizer, word_ids
from pipeline.tokens import Tokens, make_tokens
from pipeline.vocabulary import TokenOptions

TRAIN = """good\tA good, GOOD film: it's the best!
bad\tNot a good film
bad\tThe worst film. Grün
good\t
good\tbest of the best
"""
TEST = "bad\tworst Kino ever\ngood\tbest GRÜN\n"


def write_text(folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "train.tsv").write_text(TRAIN)
    (folder / "test.gz").write_bytes(gzip.compress(TEST.encode()))
    return [f"train={folder / 'train.tsv'}", f"test={folder / 'test.gz'}"]


def options(folder: Path, to: Path, **more: object) -> TokenOptions:
    given = {"form": LineFormat("tsv"), "min_count": 2, **more}
    return TokenOptions(texts=write_text(folder), to=str(to), **given)  # type: ignore[arg-type]


def read(folder: Path, name: str) -> list[int]:
    values = []
    for path in sorted(folder.glob(f"{name}-*.idx")):
        header, _ = idx.read_header(str(path), path.stat().st_size)
        values += idx.IdxFile(str(path), header).read(0, header.count).tolist()
    return values


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tokens]:
    folder = tmp_path_factory.mktemp("tokens")
    return folder, make_tokens(options(folder, folder / "films"))


def test_words_become_numbers(made: tuple[Path, Tokens]) -> None:
    folder, result = made[0] / "films", made[1]
    words = (folder / "vocabulary.txt").read_text().splitlines()
    # The most frequent first; what stands once is not among them.
    assert words == ["the", "good", "film", "best", "a"]
    assert result.vocabulary == 5
    unknown = len(words) + 1
    known = {word: number for number, word in enumerate(words, 1)}
    texts = [
        "a good , good film : it ' s the best !",
        "not a good film",
        "the worst film . grün",
        "",
        "best of the best",
    ]
    wanted = [[known.get(word, unknown) for word in line.split()] for line in texts]
    assert read(folder, "train-lengths") == [len(line) for line in wanted]
    assert read(folder, "train-words") == [number for line in wanted for number in line]
    assert read(folder, "train-label") == [1, 0, 0, 1, 1]
    assert read(folder, "test-words") == [6, 6, 6, 4, 6]
    train, test = result.splits["train"], result.splits["test"]
    assert (train.records, train.tokens, train.unknown, train.bad) == (5, 25, 11, 0)
    assert (test.records, test.tokens, test.unknown, test.bad) == (2, 5, 4, 0)
    description = tomllib.loads((folder / "dataset.toml").read_text())
    assert description["features"] == {
        "words": {"num_classes": 7},
        "label": {"names": ["bad", "good"]},
    }


def test_convert_takes_them_as_they_are(
    made: tuple[Path, Tokens], tmp_path: Path, recordmill: Command
) -> None:
    folder = made[0] / "films"
    done = recordmill("convert", "--input", folder, "--output", tmp_path, "--quiet")
    assert done.code == 0, done.err
    out = tmp_path / "films" / "1.0.0"
    records = pipeline.open_dataset(str(out))
    assert records.splits == {"train": 5, "test": 2}
    assert records.label_names() == ("bad", "good")
    lengths = sorted(len(words) for words in records["train"][:]["words"])
    assert lengths == sorted(read(folder, "train-lengths"))
    for name in ("vocabulary.txt", "tokenizer.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert load_tokenizer(str(out)) == Tokenizer()
    assert recordmill("verify", out, "--source", folder).code == 0


@pytest.mark.slow
def test_same_bytes_however_the_text_is_cut(
    made: tuple[Path, Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = made
    make_tokens(options(folder, folder / "again", name="films"))
    laws.assert_same_files(folder / "films", folder / "again")
    monkeypatch.setattr(text, "PART_BYTES", 30)
    monkeypatch.setattr(tokens, "BLOCK_TOKENS", 1)
    make_tokens(options(folder, folder / "parts", name="films"))
    assert len(list((folder / "parts").glob("train-words-*"))) > 2
    for name in ("train-words", "train-lengths", "train-label", "test-words"):
        assert read(folder / "parts", name) == read(folder / "films", name)
    for name in ("vocabulary.txt", "dataset.toml"):
        assert (folder / "parts" / name).read_text() == (folder / "films" / name).read_text()


@pytest.mark.parametrize(
    ("tokenizer", "wanted"),
    [
        (Tokenizer(), ["don", "'", "t", "grün", "é", "२३", "😀", "a", "b"]),
        (Tokenizer(lower=False), ["Don", "'", "t", "GRÜN", "é", "२३", "😀", "a", "b"]),
        (Tokenizer(unit="spaces"), ["don't", "grün", "é", "२३😀", "a", "b"]),
        (Tokenizer(unit="characters"), [*"don'tgrün", "e", "\u0301", *"२३😀ab"]),
    ],
)
def test_units(tokenizer: Tokenizer, wanted: list[str]) -> None:
    import tensorflow as tf

    found = tokenizer.split(tf.constant(["Don't GRÜN\u3000e\u0301 २३😀\ta\u2028b", "", "\r\n"]))
    assert found.row_lengths().numpy().tolist() == [len(wanted), 0, 0]
    wanted = ["e\u0301" if word == "é" else word for word in wanted]
    assert [word.decode() for word in found[0].numpy()] == wanted


def test_numbers_are_those_of_tensorflow_transform(made: tuple[Path, Tokens]) -> None:
    """The table that is served gives what tft's own mapper gives, hashed words included."""
    import tensorflow as tf
    import tensorflow_transform as tft

    path = str(made[0] / "films" / "vocabulary.txt")
    words = ["the", "good", "zebra", "film", "unicorn", "Grün", ""]
    for buckets in (1, 7):
        # In a graph of its own: tft notes what it maps in that of the process.
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            mapped = tft.apply_vocabulary(tf.constant(words), path, num_oov_buckets=buckets)
            session.run(tf.compat.v1.tables_initializer())
            wanted = session.run(mapped)
        found = word_ids(Tokenizer(oov_buckets=buckets), path).table.lookup(tf.constant(words))
        assert found.numpy().tolist() == wanted.tolist()


def test_bad_lines_end_the_run_or_are_counted(tmp_path: Path, recordmill: Command) -> None:
    train, test = tmp_path / "train", tmp_path / "test"
    train.write_bytes(b"a\tone two\nb\tone \xff\na\tone two\n")
    test.write_bytes(b"a\tone\nc\ttwo\nno tab\n")
    argv = ("tokens", f"train={train}", f"test={test}", "--format", "tsv", "--to", tmp_path / "to")
    done = recordmill(*argv)
    assert done.code == 1
    assert f"{train}: line 2: invalid UTF-8 at byte 6 (ff)" in done.err
    assert not (tmp_path / "to").exists()
    assert not (tmp_path / "to.partial").exists()
    done = recordmill(*argv, "--on_bad_record", "skip")
    assert done.code == 0, done.err
    assert "train: 2 texts, 4 tokens, 0.00% of them not in the vocabulary" in done.out
    assert "train: 1 bad lines set aside, such as" in done.out
    assert f"  {test}: line 2: label 'c' does not stand in train" in done.out
    assert f"  {test}: line 3: no tab between a label and the text" in done.out
    # Of words that are equally frequent the last in the order of letters comes first.
    assert read(tmp_path / "to", "test-words") == [2]


def test_flags_reach_the_vocabulary(tmp_path: Path, recordmill: Command) -> None:
    lines = [{"body": word, "kind": number} for number, word in enumerate("aaabbcAA")]
    (tmp_path / "a").write_text("".join(json.dumps(line) + "\n" for line in lines))
    argv = ["tokens", tmp_path / "a", "--to", tmp_path / "to", "--quiet", "--name", "letters"]
    argv += ["--format", "jsonl", "--text_field", "body", "--label_field", "kind"]
    argv += ["--unit", "characters", "--keep_case", "--vocabulary_size", 2, "--oov_buckets", 3]
    done = recordmill(*argv)
    assert (done.code, done.out) == (0, ""), done.err
    assert (tmp_path / "to" / "vocabulary.txt").read_text() == "a\nb\n"
    assert load_tokenizer(str(tmp_path / "to")) == Tokenizer(
        unit="characters", lower=False, oov_buckets=3
    )
    found = read(tmp_path / "to", "train-words")
    assert found[:5] == [1, 1, 1, 2, 2]
    assert all(3 <= number <= 5 for number in found[5:])
    description = tomllib.loads((tmp_path / "to" / "dataset.toml").read_text())
    assert description["name"] == "letters"
    assert description["features"]["words"]["num_classes"] == 2 + 3 + 1
    assert description["features"]["label"]["names"] == [str(number) for number in range(8)]
    assert recordmill(*argv).code == 1
    assert recordmill(*argv, "--overwrite").code == 0


def test_what_lies_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="holds something already; give another folder"):
            make_tokens(options(tmp_path, tmp_path / "to", overwrite=overwrite))
    with pytest.raises(OutputError, match="mine: is a file; wanted a folder"):
        make_tokens(options(tmp_path, tmp_path / "to" / "mine"))
    assert (tmp_path / "to" / "mine").read_text() == "mine"


def test_wrong_options_are_told(tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"min_count": 0}, "min_count 0: wanted 1 or more"),
        ({"vocabulary_size": 0}, "vocabulary_size 0: wanted 1 or more"),
        ({"to": "gs://bucket/to"}, "gs://bucket/to: wanted a folder of this machine"),
        ({"name": "a-b"}, "name 'a-b': wanted letters"),
    ]
    for given, message in wrong:
        with pytest.raises(UsageError, match=message):
            TokenOptions(**{"texts": ["a"], "to": "to", **given})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="oov_buckets 0: wanted 1 or more"):
        Tokenizer(oov_buckets=0)
    with pytest.raises(UsageError, match="unit 'bytes': wanted words or characters or spaces"):
        Tokenizer(unit="bytes")  # type: ignore[arg-type]
    (tmp_path / "a").write_text("one")
    with pytest.raises(UsageError, match="the splits are test; wanted train among them"):
        make_tokens(TokenOptions(texts=[f"test={tmp_path / 'a'}"], to=str(tmp_path / "to")))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("", "one", "no word stands 2 times or more in the train split"),
        ("one one", "", "split 'test': its files hold no good line"),
    ],
)
def test_text_without_words_is_told(tmp_path: Path, train: str, test: str, message: str) -> None:
    (tmp_path / "a").write_text(train)
    (tmp_path / "b").write_text(test)
    texts = [str(tmp_path / "a"), f"test={tmp_path / 'b'}"]
    with pytest.raises(InputError, match=message):
        make_tokens(TokenOptions(texts=texts, to=str(tmp_path / "to"), min_count=2))
    assert not list(tmp_path.glob("to*"))


def test_a_tokenizer_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="tokenizer.json: no tokenizer of ours"):
        load_tokenizer(str(tmp_path))
    value = json.loads(Tokenizer().to_json())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**value, "format": 9}))
    with pytest.raises(DatasetError, match="wanted format 1"):
        load_tokenizer(str(tmp_path))


def test_small_numbers_take_small_files() -> None:
    kinds = [np.dtype(tokens._smallest(count)).name for count in (256, 257, 32768, 32769)]
    assert kinds == ["uint8", "int16", "int16", "int32"]
    assert vocabulary.NO_WORD
