"""Types of wire fields that several resources share. UNSET is absent; None is null."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType


def matching(pattern: str, **schema: Any) -> Meta:
    """Return a constraint to a whole text. A final line feed does not match, as it would before ``$``."""
    return Meta(pattern=rf"^({pattern})\Z", extra_json_schema={"pattern": f"^({pattern})$", **schema})


def one_of(*values: str) -> Meta:
    """Return a constraint to one of `values`."""
    pattern = "|".join(re.sub(r"[${}]", r"\\\g<0>", value) for value in values)
    return matching(pattern, enum=list(values))


def line(most: int) -> Meta:
    """Return a constraint to at most `most` characters without control characters: Envoy rejects such values."""
    return matching(rf"[^\x00-\x1f\x7f]{{0,{most}}}")


Text: TypeAlias = Annotated[str, Meta(max_length=255)] | UnsetType | None
"""Up to 255 characters; null empties it."""
Identifier: TypeAlias = Annotated[str, Meta(max_length=64)]
Reference: TypeAlias = Identifier | UnsetType | None
"""The id of another object; null and "" are none."""
Flag: TypeAlias = bool | UnsetType | None
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Words: TypeAlias = list[Annotated[str, Meta(max_length=255)]] | UnsetType | None


class Tag(Struct, frozen=True):
    """A label of the user's."""

    key: Annotated[str, Meta(max_length=128)]
    value: Annotated[str, Meta(max_length=255)] = ""


Tags: TypeAlias = list[Tag] | UnsetType | None


class Protected(Struct, frozen=True, kw_only=True):
    """The mark that tells consoles not to edit; the API takes changes all the same."""

    protection_status: Annotated[str, one_of("nonProtection", "consoleProtection")] | UnsetType | None = UNSET
    protection_reason: Annotated[str, matching("[^<>]{0,255}")] | UnsetType | None = UNSET


PROTECTION: dict[str, Any] = {"protection_status": "nonProtection", "protection_reason": ""}
"""Defaults of ``Protected``."""
