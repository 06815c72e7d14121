"""Names of settings that version 0.1 had, and nested names that do not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from certferry.settings import ControllerSettings, ElbSettings, UserError, read
from certferry.settings.renamed import RENAMED


@pytest.mark.parametrize(
    ("program", "text", "hint"),
    [
        ("controller", "{hold_off: 1}", "controller.hold_off, which is now controller.debounce"),
        ("controller", "{checks: {DriftFound: off}}", "DriftFound is now DriftDetected"),
        ("controller", "{drift: {members: off}}", "members"),
        ("elb", "{envoy_options: {at_end: leave}}", "at_end is now on_exit: rename it. leave is now keep"),
        ("elb", "{envoy_options: {on_exit: end}}", "end is now stop"),
        ("elb", "{limits: {certificates: 5}}", "certificates"),
    ],
)
def test_an_old_or_unknown_name_is_an_error(program: str, text: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"{program}: {text}")
    kind = ElbSettings if program == "elb" else ControllerSettings
    with pytest.raises(UserError, match=hint):
        read(kind, program, {}, {}, tmp_path / "settings.yaml")


def test_an_old_name_in_the_environment_is_an_error() -> None:
    for old, new in RENAMED["controller"].items():
        with pytest.raises(UserError, match=f"is now CERTFERRY_CONTROLLER_{new.upper()}"):
            read(ControllerSettings, "controller", {}, {f"CERTFERRY_CONTROLLER_{old.upper()}": "1"})
