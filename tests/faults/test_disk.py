"""A disk that is full, broken, forbidden or gone: a clear error, and a resume to the same bytes."""

import errno
import itertools
import os
import shutil

import pytest
import small
from apache_beam.io.localfilesystem import LocalFileSystem

from launch.cli import main
from pipeline import files
from pipeline.errors import DatasetError
from pipeline.manifest import load_manifest

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, "vanish")


class Faults:
    """Counts writes, closes and renames, ours and those of FileSystems; one of them fails."""

    def __init__(self, monkeypatch, folder, fail_at=None, error=None):
        self.count, self.fail_at, self.error, self.folder = 0, fail_at, error, folder
        self._patch(monkeypatch, files, "open_write", opens=True)
        self._patch(monkeypatch, files, "rename")
        self._patch(monkeypatch, LocalFileSystem, "create", opens=True)
        self._patch(monkeypatch, LocalFileSystem, "rename")

    def step(self, path):
        self.count += 1
        if self.count - 1 != self.fail_at:
            return
        if self.error == "vanish":
            shutil.rmtree(self.folder)
        else:
            raise OSError(self.error, os.strerror(self.error), str(path))

    def _patch(self, monkeypatch, owner, name, opens=False):
        original = getattr(owner, name)

        def patched(*args, **kwargs):
            path = next(a for a in args if isinstance(a, (str, list)))
            self.step(path)
            made = original(*args, **kwargs)
            return _Stream(made, self, path) if opens else made

        monkeypatch.setattr(owner, name, patched)


class _Stream:
    def __init__(self, stream, faults, path):
        self._stream, self._faults, self._path = stream, faults, path

    def write(self, data):
        self._faults.step(self._path)
        return self._stream.write(data)

    def close(self):
        if not self._stream.closed:
            self._faults.step(self._path)
        self._stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getattr__(self, name):
        return getattr(self._stream, name)


FLAGS = ("--num_shards", "train=3,test=2", "--on_bad_record", "skip", "--check_duplicates")


def command(source, output):
    return ["convert", "--input", str(source), "--output", str(output), "--quiet", *FLAGS]


def conversions(tmp_path, monkeypatch, capsys, choose):
    """Fails at each chosen step; the number of failures, each of which was mended by a resume."""
    source = small.write_source(tmp_path / "source", gzip=True)
    wanted = small.content(small.convert(source, tmp_path / "whole", *FLAGS[2:]))
    with monkeypatch.context() as patch:
        faults = Faults(patch, None)
        assert main(command(source, tmp_path / "counted")) == 0
        steps = faults.count
    failures = 0
    for number, error in choose(steps):
        output = tmp_path / f"output-{number}-{error}"
        folder = output / "small/1.0.0"
        capsys.readouterr()
        with monkeypatch.context() as patch:
            Faults(patch, folder, number, error)
            code = main(command(source, output))
        told = capsys.readouterr().err
        if code == 0:
            # The folder vanished with the last step, or what failed was cleaned up after.
            assert error == "vanish" or small.content(folder) == wanted
        else:
            assert code == 1, (number, error)
            assert "recordmill: error: " in told, (number, error)
            assert "again" in told, told
            with pytest.raises(DatasetError):
                load_manifest(str(folder))
        assert main(command(source, output)) == 0, (number, error)
        assert small.content(folder) == wanted, (number, error)
        shutil.rmtree(output)
        failures += 1
    return failures, steps


def test_some_writes_and_renames_fail(tmp_path, monkeypatch, capsys):
    def choose(steps):
        places = range(1, steps, max(1, steps // 7))
        return list(zip(places, itertools.cycle(ERRORS)))  # noqa: B905  # one is endless

    failures, _ = conversions(tmp_path, monkeypatch, capsys, choose)
    assert failures >= 7


@pytest.mark.slow
def test_every_write_and_rename_fails(tmp_path, monkeypatch, capsys):
    def choose(steps):
        return [(n, ERRORS[n % 4]) for n in range(steps)]

    failures, steps = conversions(tmp_path, monkeypatch, capsys, choose)
    with capsys.disabled():
        print(f"\n{failures} failures, one at each of {steps} writes, closes and renames")
    assert failures == steps
