"""Atomic writing of files that only their owner may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from certferry.runtime import private_files


def test_write_replaces_the_whole_file_and_makes_it_private(tmp_path: Path) -> None:
    """A file that others could read loses that mode; no scratch file remains."""
    path = tmp_path / "token"
    path.write_text("a longer old content")
    path.chmod(0o644)
    private_files.write(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_create_leaves_an_existing_file_as_it_is(tmp_path: Path) -> None:
    """The first writer wins."""
    path = tmp_path / "key"
    private_files.create(path, b"first")
    private_files.create(path, b"second")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o600)


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    """A directory cannot be replaced by a file."""
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        private_files.write(path, "text")
    assert list(tmp_path.iterdir()) == [path]
