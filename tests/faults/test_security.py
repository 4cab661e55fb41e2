"""Nothing that is read is run, leads outside, or takes more than it promised."""

import ast
import gzip
import os
import stat
from pathlib import Path

import pytest
import small

import pipeline
from launch.cli import main
from pipeline import conversion, idx, read, verify
from pipeline.errors import DatasetError, InputError
from pipeline.manifest import Manifest, load_manifest, write_json
from pipeline.options import PlanOptions
from pipeline.planning import make_plan

PACKAGES = [Path(pipeline.__file__).parents[1] / name for name in ("pipeline", "launch", "train")]
# Where code that the user named on the command line is run.
RUNS_CODE_OF_THE_USER = {"rules.py": {"exec", "compile"}}


def test_nothing_is_unpickled_or_evaluated():
    for path in (path for package in PACKAGES for path in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            called = getattr(getattr(node, "func", None), "id", None)
            if called in ("eval", "exec", "compile", "__import__"):
                assert called in RUNS_CODE_OF_THE_USER.get(path.name, ()), path
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & set(names), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant)
                assert node.value.value is False, path


def test_sources_that_a_manifest_puts_outside(tmp_path):
    source = small.write_source(tmp_path / "source")
    folder = small.convert(source, tmp_path / "out")
    manifest = load_manifest(str(folder))
    for name in ("../secret", "/etc/passwd", "a/../../b"):
        value = manifest.to_json()
        del value["checksum"]
        for part in value["plan"]["sources"]["train"]["image"]:
            part["name"] = name
        changed = Manifest.from_json(value, "changed").to_json()
        write_json(str(folder / "manifest.json"), changed)
        with pytest.raises(DatasetError, match="leads outside of"):
            verify.verify_dataset(str(folder), source=str(source))


def test_files_that_a_manifest_puts_outside(tmp_path):
    folder = small.convert(small.write_source(tmp_path / "source"), tmp_path / "out")
    value = load_manifest(str(folder)).to_json()
    for name in ("../x", "/x", "a/../../x", "", "a//b"):
        value["files"] = {name: "0"}
        with pytest.raises(DatasetError, match="leads outside of its folder"):
            Manifest.from_json(value, "changed")


def test_a_gzip_bomb_stops_at_what_the_header_promises(tmp_path):
    promised = idx.encode_header("uint8", (10, 4))
    bomb = tmp_path / "train-images-idx3-ubyte.gz"
    bomb.write_bytes(gzip.compress(promised + bytes(1 << 28), 1))
    target = tmp_path / "inflated"
    with pytest.raises(InputError, match="inflates to more than the 52 bytes"):
        idx.inflate(str(bomb), str(target), idx.parse_header(promised, "bomb"))
    assert not target.exists()
    assert [p.name for p in tmp_path.iterdir()] == [bomb.name]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_have_the_users_umask(tmp_path, umask):
    source = small.write_source(tmp_path / "source")
    before = os.umask(umask)
    try:
        folder = small.convert(source, tmp_path / "out")
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        wanted = (0o777 if path.is_dir() else 0o666) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_an_input_that_changed_between_plan_and_reading(tmp_path, monkeypatch):
    source = small.write_source(tmp_path / "source")
    labels = source / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    plan = make_plan(PlanOptions(input=str(source)))
    labels.write_bytes(whole[:-1] + b"\1")
    with pytest.raises(InputError, match="was changed after the conversion was planned"):
        conversion.run_plan(plan, str(tmp_path / "out"))
    labels.unlink()
    with pytest.raises(InputError, match="was there when the conversion was planned, and is gone"):
        conversion.run_plan(plan, str(tmp_path / "out"))
    labels.write_bytes(whole)
    # After the plan is made again, a change while shards are written is noticed, too.
    plan = make_plan(PlanOptions(input=str(source)))
    original = read.SplitReader.__call__

    def changing(self, start, stop):
        os.utime(labels, ns=(1, 1))
        return original(self, start, stop)

    monkeypatch.setattr(read.SplitReader, "__call__", changing)
    with pytest.raises(InputError, match="was changed after the conversion was planned"):
        conversion.run_plan(plan, str(tmp_path / "other"))
    assert not list(tmp_path.rglob("manifest.json"))


def test_multi_threading_is_refused(tmp_path, capsys):
    source = small.write_source(tmp_path / "source")
    flags = ["convert", "--input", str(source), "--output", str(tmp_path / "out"), "--quiet"]
    assert main([*flags, "--direct_running_mode=multi_threading"]) == 2
    assert "loses records without a word" in capsys.readouterr().err
