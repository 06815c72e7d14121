"""Log files of child processes, which hold them open for appending."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def trim(log: Path, limit: int) -> None:
    """Move the content of `log` to ``LOG.1`` if it has more than `limit` bytes. Raises OSError."""
    if not log.exists() or log.stat().st_size <= limit:
        return
    former = log.with_name(log.name + ".1")
    former.unlink(missing_ok=True)  # makes room for the copy on a full disk
    shutil.copyfile(log, former)
    # Truncate, not rename, because the process holds the file open.
    os.truncate(log, 0)
