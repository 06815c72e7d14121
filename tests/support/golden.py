"""Golden files: ``NAME.in.yaml`` beside ``NAME.out.yaml``; ``# title:`` in the first line is their sentence.

``pytest --golden`` rewrites the outputs; the diff is then reviewed like code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TESTDATA = Path(__file__).parent.parent / "testdata"


def cases(stage: str) -> list[Any]:
    """The inputs of a stage, as pytest parameters named by their sentence."""
    found = sorted((TESTDATA / stage).glob("*.in.yaml"))
    assert found, f"no golden files for {stage}"
    return [pytest.param(path, id=path.name.removesuffix(".in.yaml")) for path in found]


def check(path: Path, produce: Callable[[Any], Any], *, rewrite: bool) -> None:
    """Compare what `produce` makes of the input at `path` with the recorded output."""
    made = _dump(produce(yaml.safe_load(path.read_text())))
    recorded = path.with_name(path.name.replace(".in.yaml", ".out.yaml"))
    if rewrite:
        recorded.write_text(made)
    assert recorded.exists(), f"{recorded.name} is missing: run pytest --golden and review it"
    assert made == recorded.read_text()


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
