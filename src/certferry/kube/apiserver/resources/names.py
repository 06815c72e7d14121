"""Syntax of names, labels and keys. Every function returns error texts, none if the value is valid.

Upstream: https://github.com/kubernetes/apimachinery/blob/master/pkg/util/validation/validation.go
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_WILDCARD: Final = rf"\*\.{_SUBDOMAIN}"
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = f"({_QUALIFIED})?"
_KEY: Final = "[-._a-zA-Z0-9]+"

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character"
)
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must "
    "consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character"
)
_KEY_TEXT = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"


def subdomain(value: str) -> list[str]:
    """Check an RFC 1123 subdomain: the name of most objects, and a host."""
    return _checked(value, 253, _SUBDOMAIN, _SUBDOMAIN_TEXT, "example.com")


def label(value: str) -> list[str]:
    """Check an RFC 1123 label, such as a namespace."""
    return _checked(value, 63, _LABEL, _LABEL_TEXT, "my-name", "123-abc")


def host(value: str) -> list[str]:
    """Check the host of an Ingress, with or without a wildcard."""
    if "*" in value:
        return _checked(value, 253, _WILDCARD, _WILDCARD_TEXT, "*.example.com")
    return subdomain(value)


def qualified(value: str) -> list[str]:
    """Check the key of a label or an annotation: an optional DNS prefix and a name."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return [
            "a valid label key "
            + _regex(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    wrong: list[str] = []
    if slash:
        wrong += ["prefix part must be non-empty"] if not prefix else [f"prefix part {m}" for m in subdomain(prefix)]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name) > 63:
        wrong.append("name part must be no more than 63 characters")
    if not re.fullmatch(_QUALIFIED, name):
        wrong.append("name part " + _regex(_QUALIFIED_TEXT, _QUALIFIED, "MyName", "my.name", "123-abc"))
    return wrong


def label_value(value: str) -> list[str]:
    """Check the value of a label."""
    return _checked(value, 63, _VALUE, _VALUE_TEXT, "MyValue", "my_value", "12345")


def data_key(value: str) -> list[str]:
    """Check a key of a Secret or a ConfigMap."""
    wrong = _checked(value, 253, _KEY, _KEY_TEXT, "key.name", "KEY_NAME", "key-name")
    if value == ".":
        wrong.append("must not be '.'")
    elif value.startswith(".."):
        wrong.append("must not start with '..'" if value != ".." else "must not be '..'")
    return wrong


def path_segment(value: str) -> list[str]:
    """Check the name of a role or a binding: anything that a path may contain."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in "/%" if part in value]


def port_number(value: int) -> list[str]:
    """Check a port, from 1 to 65535."""
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]


def port_name(value: str) -> list[str]:
    """Check an IANA service name."""
    wrong: list[str] = []
    if len(value) > 15:
        wrong.append("must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", value):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in value:
        wrong.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        wrong.append("must not begin or end with a hyphen")
    return wrong


def address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an IP address; return None if `value` is not one."""
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return None


def _checked(value: str, most: int, expression: str, text: str, *examples: str) -> list[str]:
    wrong = [f"must be no more than {most} characters"] if len(value) > most else []
    if not re.fullmatch(expression, value):
        wrong.append(_regex(text, expression, *examples))
    return wrong


def _regex(text: str, expression: str, *examples: str) -> str:
    shown = " or ".join(f"'{e}', " for e in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{expression}')"
