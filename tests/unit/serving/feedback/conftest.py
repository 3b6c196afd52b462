"""A key file, and desks that share it."""

from pathlib import Path

import pytest

from unit.serving.feedback import desk


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(desk.KEY + "\n")
    return path


@pytest.fixture
def at(key_file: Path) -> desk.Desk:
    """A classifier's desk."""
    return desk.Desk(desk.classes("no", "yes"), key_file)
