"""Files that only their owner may read, written whole or not at all.

Whoever keeps a credential or a key in a file calls ``write``. It knows nothing of what it writes.
"""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Write `text` to `path` (0600); readers see the old file or the new one. Raises OSError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    scratch.replace(path)
