"""Values from flags, environment and file, put together and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import yaml

from certferry.settings.cluster import ClusterSettings
from certferry.settings.errors import UserError
from certferry.settings.renamed import RENAMED, RENAMED_ENVOY_OPTIONS, RENAMED_REASONS, new_name

T = TypeVar("T", bound=msgspec.Struct)

_NO_MAPPING: Final = "The settings file {file} needs a mapping, with one mapping per program in it."


def read(
    kind: type[T],
    program: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    file: Path | None = None,
) -> T:
    """The settings of `program`; flags that are None were not given. Raises ``Refused``."""
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
    """The entries of ``clusters`` in `file`, relative paths from its folder. Raises ``Refused``."""
    listed = _document(file).get("clusters") or []
    try:
        found = msgspec.convert(listed, tuple[ClusterSettings, ...], dec_hook=_beside(file))
    except msgspec.ValidationError as error:
        raise UserError(f"“clusters” in {file} cannot be used: {error}.") from None
    names = [cluster.name for cluster in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"“clusters” in {file} has two entries named “{twice[0]}”: each needs its own name.")
    return found


def _beside(file: Path) -> Callable[[type[Any], Any], Any]:
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
    return document or {}


def _from_file(file: Path, program: str, fields: set[str]) -> dict[str, Any]:
    section = _document(file).get(program) or {}
    if not isinstance(section, dict):
        raise UserError(_NO_MAPPING.format(file=file))
    unknown = sorted(set(map(str, section)) - fields)
    if unknown:
        raise UserError(
            f"The settings file {file} sets {program}.{unknown[0]}, {_unknown(program, unknown[0])}."
        )
    return dict(section)


def _unknown(program: str, setting: str) -> str:
    new = new_name(program, setting)
    return f"which is now {program}.{new}: rename it" if new else "which does not exist"


def _renamed_value(values: Mapping[str, Any]) -> str:
    # nested keys of version 0.1: reasons in `checks`, options of Envoy
    checks, options = values.get("checks"), values.get("envoy_options")
    given = {*(checks if isinstance(checks, dict) else ()), *(options if isinstance(options, dict) else ())}
    known = {**RENAMED_REASONS, **RENAMED_ENVOY_OPTIONS}
    return "".join(f" {old} is now {known[old]}: rename it." for old in sorted(given & known.keys()))


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path:
        return Path(value).expanduser() if isinstance(value, str) else value
    raise NotImplementedError(kind)
