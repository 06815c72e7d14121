"""JSON and YAML of clients, bounded before values are built: nesting, number of values, no aliases.

Invariant: time and memory are linear in the length of the text. A YAML alias is rejected, because aliases
of aliases grow tenfold a level. YAML is read event by event, so that other threads run in between.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import yaml

MAX_DEPTH: Final = 100
"""Levels of nesting. Kubernetes objects need about 20."""
MAX_NUMBER: Final = 100
"""Characters of a number in YAML; longer plain text is no number. Base 60 (``59:59:59``) takes quadratic time."""
MAX_VALUES: Final = 500_000
"""Keys and values in a YAML text."""


class InvalidInput(ValueError):
    """The text is not what it claims to be, or exceeds a bound; the sentence is for the client."""


def load_json(body: bytes) -> Any:
    """Return the value in `body`. Raises InvalidInput."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(str(error)) from None
    except RecursionError:
        raise _too_deep() from None
    check_depth(value, body)
    return value


def check_depth(value: Any, body: bytes) -> None:
    """Check the nesting of `value`, which `body` encodes. Raises InvalidInput."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return
    raise _too_deep()


def load_yaml(text: bytes | str) -> Any:
    """Return the value in a YAML text of one document. Raises InvalidInput.

    Dates stay text, as in JSON. Tags other than those of JSON's types are rejected.
    """
    try:
        return _Builder().build(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise InvalidInput(f"not YAML{place}") from None


class _Builder:
    """Builds plain values from YAML events, without recursion."""

    def __init__(self) -> None:
        self._resolver = _Resolver()
        self._values = 0

    def build(self, text: bytes | str) -> Any:
        root: list[Any] = []
        stack: list[_Container] = [_Container(root)]
        documents = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            match event:
                case yaml.ScalarEvent():
                    self._count()
                    stack[-1].add(self._resolver.scalar(event))
                case yaml.AliasEvent():
                    raise InvalidInput("YAML aliases are not accepted: write the value out")
                case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                    self._count()
                    if len(stack) > MAX_DEPTH:
                        raise _too_deep()
                    stack.append(_Container({} if isinstance(event, yaml.MappingStartEvent) else []))
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    value = stack.pop().value
                    stack[-1].add(value)
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise InvalidInput("one YAML document is expected, not several")
                case _:
                    pass
        return root[0] if root else None

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidInput(f"more than {MAX_VALUES} values")


_UNSET: Final = object()


class _Container:
    """A mapping or list under construction."""

    def __init__(self, value: dict[Any, Any] | list[Any]) -> None:
        self.value = value
        self._key: Any = _UNSET

    def add(self, item: Any) -> None:
        if isinstance(self.value, list):
            self.value.append(item)
        elif self._key is _UNSET:
            if isinstance(item, dict | list):
                raise InvalidInput("a mapping's key must be a plain value")
            self._key = item
        else:
            self.value[self._key] = item
            self._key = _UNSET


class _Resolver(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """Types of plain scalars, as YAML 1.1 has them; dates are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as PyYAML declares it)
        first: [
            (tag, expression) for tag, expression in resolvers if not tag.endswith((":timestamp", ":merge", ":value"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    def scalar(self, event: yaml.ScalarEvent) -> Any:
        if event.tag is None and (not event.implicit[0] or len(event.value) > MAX_NUMBER):
            return event.value
        if len(event.value) > MAX_NUMBER and event.tag != "tag:yaml.org,2002:str":
            raise InvalidInput(f"a number of more than {MAX_NUMBER} characters")
        tag = event.tag or self.resolve(yaml.ScalarNode, event.value, (True, False))  # type: ignore[no-untyped-call]
        if tag == "tag:yaml.org,2002:str":
            return event.value
        if tag not in _JSON_TAGS:
            raise InvalidInput(f"the YAML tag {tag} is not accepted")
        return self.construct_object(yaml.ScalarNode(tag, event.value))


_JSON_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))


def _too_deep() -> InvalidInput:
    return InvalidInput(f"nested deeper than {MAX_DEPTH} levels")
