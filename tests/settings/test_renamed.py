"""Settings of version 0.1: the old name is rejected with the new one, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from certferry.settings import (
    AlertSettings,
    ConsoleSettings,
    ControllerSettings,
    ElbSettings,
    UpSettings,
    UserError,
    read,
)
from certferry.settings.renamed import RENAMED, RENAMED_ENVOY_OPTIONS, RENAMED_ON_EXIT, RENAMED_REASONS

KINDS: dict[str, type[msgspec.Struct]] = {
    "alerts": AlertSettings,
    "console": ConsoleSettings,
    "controller": ControllerSettings,
    "elb": ElbSettings,
    "up": UpSettings,
}
NAMES = [(program, old, new) for program, names in RENAMED.items() for old, new in names.items()]


def file_with(folder: Path, program: str, setting: str, value: object) -> Path:
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({program: {setting: value}}))
    return file


@pytest.mark.parametrize(("program", "old", "new"), NAMES)
def test_a_file_with_an_old_name_is_rejected_with_the_new_one(program: str, old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"which is now {program}.{new}: rename it"):
        read(KINDS[program], program, {}, {}, file_with(tmp_path, program, old, 1))


@pytest.mark.parametrize(("program", "old", "new"), NAMES)
def test_a_variable_with_an_old_name_is_rejected_with_the_new_one(program: str, old: str, new: str) -> None:
    prefix = f"CERTFERRY_{program.upper()}_"
    with pytest.raises(UserError, match=f"is now {prefix}{new.upper()}: rename it"):
        read(KINDS[program], program, {}, {prefix + old.upper(): "1"})


@pytest.mark.parametrize(("old", "new"), [("NamesLost", RENAMED_REASONS["NamesLost"])])
def test_an_old_reason_in_controller_checks_is_rejected_with_the_new_one(old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{old} is now {new}: rename it"):
        read(ControllerSettings, "controller", {}, {}, file_with(tmp_path, "controller", "checks", {old: "refuse"}))


@pytest.mark.parametrize(("old", "new"), RENAMED_ENVOY_OPTIONS.items())
def test_an_old_option_of_envoy_is_rejected_with_the_new_one(old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{old} is now {new}: rename it"):
        read(ElbSettings, "elb", {}, {}, file_with(tmp_path, "elb", "envoy_options", {old: 1}))


@pytest.mark.parametrize(("old", "new"), RENAMED_ON_EXIT.items())
def test_an_old_value_of_on_exit_is_rejected_with_the_new_one(old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{old} is now {new}: rename it"):
        read(ElbSettings, "elb", {}, {}, file_with(tmp_path, "elb", "envoy_options", {"on_exit": old}))


@pytest.mark.parametrize(
    ("program", "setting", "name"),
    [("controller", "drift", "members"), ("elb", "limits", "certificates"), ("elb", "remote_envoys", "port")],
)
def test_an_unknown_nested_name_is_rejected(program: str, setting: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"unknown field `{name}`"):
        read(KINDS[program], program, {}, {}, file_with(tmp_path, program, setting, {name: 1}))


def test_a_present_name_is_accepted(tmp_path: Path) -> None:
    file = file_with(tmp_path, "up", "ready_timeout", 5)
    assert read(UpSettings, "up", {}, {}, file).ready_timeout == 5
