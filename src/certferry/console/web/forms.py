"""Posted forms as text, and small answers: JSON, quoted paths.

Every field is bounded before it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from certferry.console.web.errors import FormErrors

MAX_FIELD: Final = 512 * 1024
"""Bytes of one field."""


class FormFields:
    """Fields as text. An uploaded file `NAME_file` is the value of field `NAME` if that is empty."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """Return the stripped text of a field; "" if absent."""
        values = [v for v in self._fields.get(name, []) + self._fields.get(f"{name}_file", []) if v.strip()]
        return values[0].strip() if values else ""

    def exact(self, name: str) -> str | None:
        """Return the text as sent; None if the field is absent."""
        values = self._fields.get(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of a repeated field, in order."""
        return [value.strip() for value in self._fields.get(name, [])]

    def number(self, name: str, low: int, high: int, errors: dict[str, str]) -> int | None:
        """Return a whole number, None if the field is empty. An invalid value adds a sentence to `errors`."""
        text = self.text(name)
        if not text:
            return None
        if not (text.isdecimal() and text.isascii() and len(text) < 10 and low <= int(text) <= high):
            errors[name] = f"Enter a whole number from {low} to {high}."
            return None
        return int(text)

    def __repr__(self) -> str:
        return f"FormFields({sorted(self._fields)})"


async def read_form(request: Request) -> FormFields:
    """Read the posted fields and files. Raises ``FormErrors`` if a file is too large or not text."""
    fields: dict[str, list[str]] = {}
    data = await request.form(max_part_size=MAX_FIELD, max_fields=2_000, max_files=20)
    for name, value in data.multi_items():
        text = await _file_text(name, value) if isinstance(value, UploadFile) else value
        fields.setdefault(name, []).append(text.replace("\r\n", "\n"))
    return FormFields(fields)


async def _file_text(name: str, file: UploadFile) -> str:
    content = await file.read(MAX_FIELD + 1)
    if len(content) > MAX_FIELD:
        raise FormErrors({name.removesuffix("_file"): "The file is too large."})
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise FormErrors({name.removesuffix("_file"): "The file is not text in PEM form."}) from None


def json(body: Any, status: int = 200) -> Response:
    """Return a JSON response for the console's script."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def refuse(errors: dict[str, str]) -> None:
    """Raise ``FormErrors`` if there are errors."""
    if errors:
        raise FormErrors(errors)


def path(*parts: str) -> str:
    """Return a path of quoted parts."""
    return "/" + "/".join(quote(part, safe="") for part in parts)
