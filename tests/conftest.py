"""Fixtures and settings shared by all tests."""

from pathlib import Path

import hypothesis
import pytest
import samples
from commands import Command, Ran

# Time limits of single examples say more about the machine's load than about the code.
hypothesis.settings.register_profile("recordmill", deadline=None, max_examples=50)
hypothesis.settings.load_profile("recordmill")


@pytest.fixture
def recordmill(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in this process."""
    from launch import cli

    def run(*argv: object) -> Ran:
        code = cli.main([str(argument) for argument in argv])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """50 train and 20 test records in the files of the MNIST family."""
    return samples.write_mnist(tmp_path / "raw")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished dataset: 50 records in 3 shards, 20 in 1. Not to be changed: copy it."""
    import pipeline

    folder = tmp_path_factory.mktemp("dataset")
    samples.write_mnist(folder / "made")
    made = pipeline.convert(
        input=str(folder / "made"), output=str(folder / "out"), num_shards={"train": 3, "test": 1}
    )
    return Path(made.folder)
