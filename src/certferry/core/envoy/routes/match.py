"""One policy's conditions as Envoy route matches."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from certferry.core.envoy.routes.cidr import ranges
from certferry.core.model.elb import Policy, Rule

_FOREIGN: Final = re.compile(
    r"\(\?(?:[=!>(]|<[=!]|P=|P>)|\\[1-9]|\\[gkZGuU]|(?:[*+?]|\{\d+(?:,\d*)?\})\+|\{\d{4,}|\{\d*,\d{4,}"
)
"""Syntax of Perl's and Python's expressions that RE2 lacks."""
CLIENT: Final = "certferry.client"
"""The filter state with the client's address, which every filter chain sets."""
_RANKS: Final = {"EQUAL_TO": 0, "STARTS_WITH": 1, "REGEX": 2}


class Match(NamedTuple):
    """One way to fulfil a policy: a RouteMatch, and how specific its path is (kind, length)."""

    rank: int
    length: int
    route: dict[str, Any]


def re2_problem(pattern: str) -> str:
    """Return why Envoy rejects `pattern`, or "". It supports RE2 only, and a bad pattern fails the whole table."""
    if found := _FOREIGN.search(pattern.replace("\\\\", "")):
        return f"“{found[0]}” is not supported: expressions are RE2."
    try:
        re.compile(pattern)
    except re.error as error:
        return f"It is not a regular expression: {error}."
    return ""


def hosts(policy: Policy) -> tuple[str, ...]:
    """Return the host names of `policy`, lower case; () = all."""
    return tuple(v.lower() for r in policy.rules if r.type == "HOST_NAME" for v in _values(r) if v not in ("", "*"))


def matches(policy: Policy) -> list[Match]:
    """Return the matches for all rules of `policy`, hosts aside; [] if a rule is not supported.

    Sharing out requests by a rule that we cannot evaluate would send strangers to the pool.
    """
    conditions: dict[str, Any] = {}
    paths = [Match(_RANKS["STARTS_WITH"], 1, {"prefix": "/"})]
    for rule in policy.rules:
        match rule.type:
            case "HOST_NAME":
                continue
            case "PATH":
                paths = [_path(rule.compare_type, value) for value in _values(rule)]
            case "METHOD":
                text = {"safe_regex": {"regex": "|".join(map(re.escape, _values(rule)))}}
                conditions.setdefault("headers", []).append({"name": ":method", "string_match": text})
            case "HEADER" | "QUERY_STRING" | "COOKIE" if not _key(rule):
                return []
            case "HEADER":
                conditions.setdefault("headers", []).append(_keyed(rule))
            case "QUERY_STRING":
                conditions.setdefault("query_parameters", []).append(_keyed(rule))
            case "COOKIE":
                conditions.setdefault("headers", []).append(has_cookie(_key(rule), _alternatives(rule)))
            case "SOURCE_IP" if networks := ranges(_values(rule)):
                client = {"key": CLIENT, "address_match": {"ranges": networks}}
                conditions.setdefault("filter_state", []).append(client)
            case _:
                return []
    return [m._replace(route=m.route | conditions) for m in paths if m.route]


def _values(rule: Rule) -> list[str]:
    return [c.value for c in rule.conditions] or [rule.value]


def _path(compare: str, value: str) -> Match:
    match compare:
        case "EQUAL_TO":
            route: dict[str, Any] = {"path": value}
        case "REGEX" if re2_problem(value):
            route = {}
        case "REGEX":
            # The vendor looks for the expression anywhere in the path, Envoy wants all of the path.
            route = {"safe_regex": {"regex": f".*(?:{value}).*"}}
        case _:
            route = {"prefix": value}
    return Match(_RANKS.get(compare, 1), len(value), route)


def _keyed(rule: Rule) -> dict[str, Any]:
    """Return a matcher for a header or query parameter with one of some values, with wildcards * and ?."""
    return {"name": _key(rule), "string_match": {"safe_regex": {"regex": _alternatives(rule)}}}


def _alternatives(rule: Rule) -> str:
    return "|".join(_wild(value) for value in _values(rule))


def has_cookie(name: str, values: str = ".*") -> dict[str, Any]:
    """Return a HeaderMatcher for a cookie whose value matches the expression `values`."""
    pattern = f"(?:.*;\\s*)?{re.escape(name)}=(?:{values})(?:\\s*;.*)?"
    return {"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}


def _key(rule: Rule) -> str:
    return next((c.key for c in rule.conditions if c.key), "")


def _wild(value: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in value)
