"""Label and field selectors: parsing, and matching against an object's indexed fields.

Upstream: https://github.com/kubernetes/apimachinery/blob/master/pkg/labels/selector.go and
https://github.com/kubernetes/apimachinery/blob/master/pkg/fields/selector.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from certferry.kube.apiserver.errors import bad_request
from certferry.kube.apiserver.resources import names
from certferry.kube.apiserver.resources.builtin import ResourceDefinition

Operator = Literal["in", "notin", "exists", "absent", "gt", "lt"]
_SET = re.compile(r"\s*([^\s!=,()<>]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(r"\s*([^\s!=,()<>]+)\s*(==|=|!=|<|>)\s*([^\s!=,()<>]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s!=,()<>]+)\s*")


class Requirement(msgspec.Struct, frozen=True):
    """One condition on one key."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, values: Mapping[str, str]) -> bool:
        """Return whether `values` meet this condition."""
        value = values.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
        try:
            number, limit = int(value or ""), int(next(iter(self.values)))
        except ValueError:
            return False
        return number > limit if self.operator == "gt" else number < limit


class Selection(msgspec.Struct, frozen=True):
    """The selectors of a list or a watch; empty selects all."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
        """Return whether an object with these labels and fields is selected."""
        return all(r.matches(labels) for r in self.labels) and all(r.matches(fields) for r in self.fields)

    @property
    def selects_all(self) -> bool:
        """Return whether there is no condition."""
        return not self.labels and not self.fields


def selection(labels: str, fields: str, kind: ResourceDefinition) -> Selection:
    """Parse both selectors of a request. Raises ``ApiStatus`` (400)."""
    return Selection(parse_labels(labels), parse_fields(fields, kind))


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector. Raises ``ApiStatus`` (400)."""
    requirements: list[Requirement] = []
    at = 0
    while at < len(text) and text.strip():
        requirement, at = _label(text, at)
        requirements.append(requirement)
        if at < len(text):
            if text[at] != ",":
                raise bad_request(f"unable to parse requirement: found '{text[at:]}', expected: ',' or 'end of string'")
            at += 1
    return tuple(requirements)


def _label(text: str, at: int) -> tuple[Requirement, int]:
    if match := _SET.match(text, at):
        key, operator, listed = match.groups()
        values = frozenset(v.strip() for v in listed.split(","))
        return _valid(Requirement(key, "in" if operator == "in" else "notin", values)), match.end()
    if match := _EQUAL.match(text, at):
        key, operator, value = match.groups()
        names_of: dict[str, Operator] = {"!=": "notin", ">": "gt", "<": "lt"}
        return _valid(Requirement(key, names_of.get(operator, "in"), frozenset({value}))), match.end()
    if match := _EXISTS.match(text, at):
        absent, key = match.groups()
        return _valid(Requirement(key, "absent" if absent else "exists")), match.end()
    raise bad_request(f"unable to parse requirement: found '{text[at:]}', expected: identifier")


def _valid(requirement: Requirement) -> Requirement:
    for wrong in names.qualified(requirement.key):
        raise bad_request(f'unable to parse requirement: key: Invalid value: "{requirement.key}": {wrong}')
    for value in sorted(requirement.values):
        for wrong in names.label_value(value):
            raise bad_request(
                f'unable to parse requirement: values[0][{requirement.key}]: Invalid value: "{value}": {wrong}'
            )
    return requirement


def parse_fields(text: str, kind: ResourceDefinition) -> tuple[Requirement, ...]:
    """Parse a field selector for `kind`. Raises ``ApiStatus`` (400)."""
    requirements: list[Requirement] = []
    for term in filter(None, (t.strip() for t in text.split(","))):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", term)
        if match is None:
            raise bad_request(f"invalid field selector: {term!r}; can't understand {term!r}")
        key, operator, value = match.groups()
        if key not in ("metadata.name", "metadata.namespace", *kind.selectable):
            raise bad_request(_unsupported(key, kind))
        requirements.append(Requirement(key, "notin" if operator == "!=" else "in", frozenset({value})))
    return tuple(requirements)


def _unsupported(key: str, kind: ResourceDefinition) -> str:
    if kind.selectable:
        return f"field label not supported: {key}"
    return f'"{key}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def selectable_fields(kind: ResourceDefinition, obj: dict[str, object]) -> dict[str, str]:
    """Return the fields of an object that field selectors may name."""
    paths = ("metadata.name", "metadata.namespace", *kind.selectable)
    return {path: _field_value(obj, path) for path in paths}


def _field_value(value: object, path: str) -> str:
    if path == "source":
        path = "source.component"
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)
