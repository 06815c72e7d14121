"""Read and validate settings from flags, environment and file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from certferry.settings.cluster import ClusterSettings
from certferry.settings.errors import UserError
from certferry.settings.renamed import RENAMED, RENAMED_ENVOY_OPTIONS, RENAMED_ON_EXIT, RENAMED_REASONS, new_name

T = TypeVar("T", bound=msgspec.Struct)

_SECTIONS: Final = frozenset({"alerts", "clusters", "console", "controller", "elb", "kube", "up"})
_NO_MAPPING: Final = "The settings file {file} needs a mapping, with one mapping per program in it."


def read(
    kind: type[T], program: str, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> T:
    """Return the settings of `program`; None is no flag. Raises UserError if a value is invalid."""
    fields = {field.name for field in msgspec.structs.fields(kind)}
    values = _from_file(file, program, fields) if file else {}
    prefix = f"CERTFERRY_{program.upper()}_"
    for old, new in RENAMED.get(program, {}).items():
        if environ.get(prefix + old.upper()):
            raise UserError(f"{prefix}{old.upper()} is now {prefix}{new.upper()}: rename it.")
    values |= {f: _from_text(environ[prefix + f.upper()]) for f in fields if environ.get(prefix + f.upper())}
    values |= {name: value for name, value in flags.items() if value is not None}
    try:
        return msgspec.convert(values, kind, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise UserError(f"A setting of {program} cannot be used: {error}.{_renamed_value(values)}") from None


def clusters(file: Path) -> tuple[ClusterSettings, ...]:
    """Return ``clusters`` of `file`; relative paths start at its folder. Raises UserError if one is invalid."""
    listed = _document(file).get("clusters") or []
    try:
        entries = msgspec.convert(listed, tuple[ClusterSettings, ...], dec_hook=_relative_to(file))
    except msgspec.ValidationError as error:
        raise UserError(f"“clusters” in {file} cannot be used: {error}.") from None
    names = [cluster.name for cluster in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"“clusters” in {file} has two entries named “{twice[0]}”: each needs its own name.")
    return entries


def _relative_to(file: Path) -> Callable[[type[Any], Any], Any]:
    def decode(kind: type[Any], value: Any) -> Any:
        decoded = _decode(kind, value)
        return file.absolute().parent / decoded if isinstance(decoded, Path) else decoded

    return decode


def _from_text(text: str) -> Any:
    # Lists and nested settings are JSON; everything else stands for itself.
    if text[:1] not in ("{", "["):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _document(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UserError(f"The settings file {file} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"The settings file {file} is neither YAML nor JSON.") from None
    if not isinstance(document, dict | None):
        raise UserError(_NO_MAPPING.format(file=file))
    if unknown := sorted(set(map(str, document or {})) - _SECTIONS):
        raise UserError(
            f"The settings file {file} has a section “{unknown[0]}”, which does not exist: "
            f"choose from {', '.join(sorted(_SECTIONS))}."
        )
    return document or {}


def _from_file(file: Path, program: str, fields: set[str]) -> dict[str, Any]:
    section = _document(file).get(program) or {}
    if not isinstance(section, dict):
        raise UserError(_NO_MAPPING.format(file=file))
    unknown = sorted(set(map(str, section)) - fields)
    if unknown:
        raise UserError(f"The settings file {file} sets {program}.{unknown[0]}, {_unknown(program, unknown[0])}.")
    return dict(section)


def _unknown(program: str, setting: str) -> str:
    new = new_name(program, setting)
    return f"which is now {program}.{new}: rename it" if new else "which does not exist"


def _renamed_value(values: Mapping[str, Any]) -> str:
    """Return a hint for nested names of version 0.1: reasons in `checks`, options of Envoy and their values."""
    checks, options = (v if isinstance(v := values.get(k), dict) else {} for k in ("checks", "envoy_options"))
    renamed = {**RENAMED_REASONS, **RENAMED_ENVOY_OPTIONS, **RENAMED_ON_EXIT}
    given = {*checks, *options, str(options.get("at_end")), str(options.get("on_exit"))}
    return "".join(f" {old} is now {renamed[old]}: rename it." for old in sorted(given & renamed.keys()))


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser() if isinstance(value, str) else value
    raise NotImplementedError(kind)
