"""Helm and actionlint for the tests of deploy/: built by `make deploy-tools`, or those in PATH."""

from __future__ import annotations

import os
import shutil
from typing import Final

from tools.deploy.programs import folder


def _program(name: str) -> str | None:
    path = folder() / name
    return str(path) if path.exists() else shutil.which(name)


HELM: Final = _program("helm")
ACTIONLINT: Final = _program("actionlint")
REQUIRED: Final = bool(os.environ.get("CI"))
"""In CI a missing program is an error."""
