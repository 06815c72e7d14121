"""Helm and actionlint, as Go modules in go.mod beside this file.

python -m tools.deploy.programs    # build them once, into the cache directory
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tools import go_programs

HERE: Final = Path(__file__).resolve().parent
_HELM: Final = "helm.sh/helm/v4"
_ACTIONLINT: Final = "github.com/rhysd/actionlint"


def folder() -> Path:
    """Return the directory in which both programs are, or will be."""
    of = go_programs.versions(HERE, (_HELM, _ACTIONLINT))
    return go_programs.cache(f"helm-{of[_HELM]}-actionlint-{of[_ACTIONLINT]}")


def built() -> Path:
    """Return that directory; build the programs that are missing."""
    programs = {"helm": (f"{_HELM}/cmd/helm", ""), "actionlint": (f"{_ACTIONLINT}/cmd/actionlint", "")}
    return go_programs.built(HERE, folder(), programs)


if __name__ == "__main__":
    print(built())
