import argparse
import gzip
import hashlib
import io
import os
import resource
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fileserver import FileServer, Served, serving

from launch import catalog, download, fetch
from launch.catalog import NAMES, KnownDataset
from launch.sources import Archive, Mirror, SourceFile
from pipeline import idx
from pipeline.errors import InputError, OutputError, UsageError


def packed(*shape: int) -> bytes:
    return gzip.compress(idx.encode_header("uint8", shape) + bytes(int(np.prod(shape))), mtime=0)


CONTENTS = dict(zip(NAMES, (packed(6, 2, 2), packed(6), packed(3, 2, 2), packed(3)), strict=True))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serving() as server:
        server.files = {f"/good/{name}": Served(content) for name, content in CONTENTS.items()}
        yield server


@pytest.fixture
def known(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> KnownDataset:
    """A catalog of one dataset, at two mirrors: the first has nothing."""
    dataset = KnownDataset(
        name="tiny-mnist",
        description='Tiny "digits".',
        labels=("zero", "T-shirt/top", "\u304a"),
        files=tuple(SourceFile(n, hashlib.sha256(c).hexdigest()) for n, c in CONTENTS.items()),
        sources=(Mirror(server.url + "none/"), Mirror(server.url + "good/")),
    )
    monkeypatch.setattr(catalog, "DATASETS", (dataset,))
    return dataset


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    fetch.add_arguments(parser)
    return fetch.run(parser.parse_args(arguments), [])


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_files_and_their_description(
    known: KnownDataset, server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "raw" / "tiny"
    assert command("tiny-mnist", "--to", str(folder)) == 0
    description = tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))
    assert description == {
        "name": "tiny_mnist",
        "version": "1.0.0",
        "description": 'Tiny "digits".',
        "features": {"label": {"names": ["zero", "T-shirt/top", "\u304a"]}},
        "splits": {
            "train": {"image": NAMES[0], "label": NAMES[1]},
            "test": {"image": NAMES[2], "label": NAMES[3]},
        },
    }
    got = snapshot(folder)
    del got["dataset.toml"]
    assert {name: content for name, (content, _) in got.items()} == CONTENTS
    err = capsys.readouterr().err
    assert f"{server.url}none/\n  train-images-idx3-ubyte.gz: HTTP 404 Not Found\n" in err
    assert err.endswith(f"tiny-mnist: 4 files in {folder}, SHA-256 checked\n")


def test_a_second_time_nothing_is_done(
    known: KnownDataset, server: FileServer, tmp_path: Path
) -> None:
    command("tiny_mnist", "--to", str(tmp_path))
    (tmp_path / "dataset.toml").write_text('name = "mine"')
    before = snapshot(tmp_path)
    server.requests.clear()
    command("tiny_mnist", "--to", str(tmp_path))
    assert snapshot(tmp_path) == before
    assert server.requests == []


def test_only_what_is_missing_is_fetched(
    known: KnownDataset, server: FileServer, tmp_path: Path
) -> None:
    for name in NAMES[1:]:
        (tmp_path / name).write_bytes(CONTENTS[name])
    command("tiny-mnist", "--to", str(tmp_path))
    assert [path for path, _, _ in server.requests] == [f"/none/{NAMES[0]}", f"/good/{NAMES[0]}"]


def test_one_source_goes_on_where_another_ended(
    known: KnownDataset, server: FileServer, tmp_path: Path
) -> None:
    server.files[f"/none/{NAMES[0]}"] = Served(CONTENTS[NAMES[0]], breaks=[20, 0, 0, 0])
    command("tiny-mnist", "--to", str(tmp_path))
    assert (f"/good/{NAMES[0]}", "bytes=20-", "") in server.requests
    assert sorted(os.listdir(tmp_path)) == sorted([*NAMES, "dataset.toml"])


def test_quiet(known: KnownDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command("tiny-mnist", "--to", str(tmp_path), "--quiet")
    assert capsys.readouterr() == ("", "")


def test_no_source_answers(known: KnownDataset, server: FileServer, tmp_path: Path) -> None:
    server.files[f"/good/{NAMES[2]}"].content = b"changed"
    with pytest.raises(InputError) as caught:
        command("tiny-mnist", "--to", str(tmp_path), "--quiet")
    first, *tried, last = str(caught.value).splitlines()
    wanted = hashlib.sha256(CONTENTS[NAMES[2]]).hexdigest()
    found = hashlib.sha256(b"changed").hexdigest()
    assert first == f"tiny-mnist: no source delivered {NAMES[2]}, {NAMES[3]}. Tried:"
    assert tried == [
        f"  {server.url}none/: {NAMES[0]}: HTTP 404 Not Found",
        f"  {server.url}good/: {NAMES[2]}: SHA-256 is {found}, wanted {wanted}",
    ]
    assert last.endswith(f"or put the files into {tmp_path} by hand")
    assert sorted(os.listdir(tmp_path)) == sorted(NAMES[:2])


def test_a_wrong_file_is_not_replaced(known: KnownDataset, tmp_path: Path) -> None:
    (tmp_path / NAMES[1]).write_bytes(b"mine")
    with pytest.raises(InputError, match=r"train-labels.*: SHA-256 is .*, wanted .*; remove it"):
        command("tiny-mnist", "--to", str(tmp_path))
    assert (tmp_path / NAMES[1]).read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "other"', "describes 'other', wanted 'tiny_mnist'; name another folder"),
        ("name = ", r"dataset\.toml: not TOML .*; mend or remove it"),
    ],
)
def test_datasets_are_not_mixed(
    known: KnownDataset, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(OutputError, match=message):
        command("tiny-mnist", "--to", str(tmp_path))
    assert os.listdir(tmp_path) == ["dataset.toml"]


def test_splits_of_one_archive(
    known: KnownDataset,
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as opened:
        for name, content in CONTENTS.items():
            opened.writestr(f"gzip/{name}", content)
    server.files["/all.zip"] = Served(zipped.getvalue())
    archive = Archive(server.url + "all.zip", hashlib.sha256(zipped.getvalue()).hexdigest())
    files = tuple(SourceFile(name, member=f"gzip/{name}") for name in NAMES)
    letters = replace(known, name="tiny-letters", files=files, sources=(archive,))
    digits = replace(letters, name="tiny-digits")
    monkeypatch.setattr(catalog, "DATASETS", (letters, digits))
    command("tiny-letters", "--to", str(tmp_path))
    command("tiny-letters", "--to", str(tmp_path))
    assert len(server.requests) == 1
    assert sorted(os.listdir(tmp_path)) == sorted([*NAMES, "dataset.toml"])
    assert "digests unknown, sizes as in the IDX headers" in capsys.readouterr().err
    # Nothing but its description tells one from the other.
    with pytest.raises(OutputError, match="describes 'tiny_letters', wanted 'tiny_digits'"):
        command("tiny-digits", "--to", str(tmp_path))


def test_a_full_disk(known: KnownDataset, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OutputError, match=f"File too large; fetch writes into {tmp_path}"):
            fetch.fetch("tiny-mnist", str(tmp_path), quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_folder_that_cannot_be_made(known: KnownDataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/raw: Not a directory"):
        command("tiny-mnist", "--to", str(tmp_path / "file" / "raw"))


def test_used_wrongly(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean fashion-mnist"):
        command("fashion", "--to", str(tmp_path))
    with pytest.raises(UsageError, match="--to gs://bucket/raw: fetch writes local folders only"):
        command("mnist", "--to", "gs://bucket/raw")


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        command("--list")
    assert left.value.code == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        dataset.name for dataset in catalog.DATASETS
    ]


@pytest.mark.slow
def test_fashion_mnist_from_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real package, through apt-get: the only source where CI runs."""
    real = catalog.find("fashion-mnist")
    monkeypatch.setattr(catalog, "DATASETS", (replace(real, sources=real.sources[-1:]),))
    command("fashion-mnist", "--to", str(tmp_path))
    header, compressed = idx.read_header(str(tmp_path / NAMES[0]), 0)
    assert (header.shape, compressed) == ((60_000, 28, 28), True)
