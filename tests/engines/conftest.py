"""What the engines' tests share, and one closing line for each engine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

LINES: list[str] = []


@pytest.fixture
def closing():
    """Notes an engine's closing line."""
    return LINES.append


def pytest_terminal_summary(terminalreporter):
    for line in LINES:
        terminalreporter.write_line(f"engine {line}")
