"""Lines of text: their parts, forms, and what is wrong with them."""

import gzip
from pathlib import Path

import pytest

from pipeline import text
from pipeline.errors import InputError, UsageError
from pipeline.text import LineFormat, Part, cut_parts, find_texts, place_of_line, read_batches

LINES = [f"line {number} {'x' * (number % 13)}" for number in range(200)]


def texts_of(parts: list[Part], form: LineFormat | None = None) -> list[str]:
    batches = (batch for part in parts for batch in read_batches(part, form or LineFormat()))
    return [one.decode() for batch in batches for one in batch.texts]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 7, 10, 64, 1 << 20])
def test_parts_are_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, end: str
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", size)
    monkeypatch.setattr(text, "BATCH_BYTES", 50)
    (tmp_path / "a").write_bytes(end.join(LINES).encode())
    parts = cut_parts({"train": [str(tmp_path / "a")]})
    assert [part.number for part in parts] == list(range(len(parts)))
    assert texts_of(parts) == LINES


def test_gzip_is_known_by_its_bytes_and_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PART_BYTES", 10)
    (tmp_path / "a").write_bytes(gzip.compress("\n".join(LINES).encode()))
    parts = cut_parts({"train": [str(tmp_path / "a")]})
    assert len(parts) == 1
    assert texts_of(parts) == LINES


def test_every_line_is_named_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "PART_BYTES", 7)
    lines = [b"\xff" if number % 3 == 0 else line.encode() for number, line in enumerate(LINES)]
    (tmp_path / "a").write_bytes(b"\n".join(lines))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    for name in ("a", "b.gz"):
        found = [
            place_of_line(part, line)
            for part in cut_parts({"train": [str(tmp_path / name)]})
            for batch in read_batches(part, LineFormat())
            for line, _ in batch.bad
        ]
        assert found == [f"{tmp_path / name}: line {n}" for n in range(1, len(LINES) + 1, 3)]


def test_empty_lines_are_texts_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\n\ntwo\n")
    assert texts_of(cut_parts({"train": [str(tmp_path / "a")]})) == ["one", "", "two"]
    (tmp_path / "b").write_bytes(b"")
    assert texts_of(cut_parts({"train": [str(tmp_path / "b")]})) == []


@pytest.mark.parametrize(
    ("form", "line", "reason"),
    [
        (LineFormat(), b"a\xc3(b", r"invalid UTF-8 at byte 1 \(c32862\)"),
        (LineFormat("tsv"), b"no label", "no tab between a label and the text"),
        (LineFormat("tsv"), b"\ttext", "label '': wanted one or more printable"),
        (LineFormat("tsv"), b"a\x01\ttext", r"label 'a\\x01': wanted one or more printable"),
        (LineFormat("jsonl"), b"{", r"not JSON \("),
        (LineFormat("jsonl"), b"[1]", "JSON, but a list and no object"),
        (LineFormat("jsonl"), b'{"body": "a"}', "no field 'text'; there is 'body'"),
        (LineFormat("jsonl"), b'{"text": 3}', "field 'text' is a int, no text"),
        (LineFormat("jsonl"), rb'{"text": "\ud800"}', "field 'text' is no UTF-8: surrogates"),
        (LineFormat("jsonl", "text", "kind"), b'{"text": "a"}', "no field 'kind'"),
        (LineFormat("jsonl", "text", "kind"), b'{"text": "a", "kind": ""}', "label '': wanted"),
    ],
)
def test_bad_lines_are_told(tmp_path: Path, form: LineFormat, line: bytes, reason: str) -> None:
    (tmp_path / "a").write_bytes(line + b"\n")
    (batch,) = read_batches(*cut_parts({"train": [str(tmp_path / "a")]}), form)
    assert batch.texts == []
    [(number, found)] = batch.bad
    assert number == 0
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found)


def test_fields_of_json_have_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"body": "gr\\u00fcn", "stars": 5}\n{"body": "", "stars": 1}')
    form = LineFormat("jsonl", "body", "stars")
    (batch,) = read_batches(*cut_parts({"train": [str(tmp_path / "a")]}), form)
    assert (batch.texts, batch.labels) == (["grün".encode(), b""], [b"5", b"1"])


def test_files_are_found_by_split_and_pattern(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b", "x=y"):
        (tmp_path / name).write_text("text")
    a, b = f"{tmp_path}/a*", f"test={tmp_path}/b"
    assert find_texts([a, b]) == {
        "train": [f"{tmp_path}/a1", f"{tmp_path}/a2"],
        "test": [f"{tmp_path}/b"],
    }
    # A file of that very name is meant, whatever it looks like.
    assert find_texts([f"{tmp_path}/x=y"]) == {"train": [f"{tmp_path}/x=y"]}
    with pytest.raises(InputError, match="nothing: no such file; give FILE or SPLIT=FILE"):
        find_texts([f"{tmp_path}/nothing"])
    with pytest.raises(UsageError, match="a1: is given twice for train"):
        find_texts([a, f"{tmp_path}/a1"])
    with pytest.raises(UsageError, match="split 'te-st': wanted letters"):
        find_texts([f"te-st={tmp_path}/b"])


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(UsageError, match="format 'csv': wanted text or tsv or jsonl"):
        LineFormat("csv")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="format tsv: has no named fields"):
        LineFormat("tsv", label_field="kind")
