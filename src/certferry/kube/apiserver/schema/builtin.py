"""Every field of every type that this server takes: the table ``types.txt``, which `schema` explains.

The table is written by ``tools/kube_types.py`` from Kubernetes 1.37. One addition: ``property`` of an
ingress path, the match mode of the vendor's ingresses, which a stock server refuses; its number is far
from the ones upstream uses.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from certferry.kube.apiserver.schema.types import Type, field, make, parse


def _extended(types: dict[str, Type], name: str, addition: str) -> dict[str, Type]:
    original = types[name]
    fields = [*original.numbers.values(), field(addition)]
    return types | {name: make(name, original.full, fields, atomic=original.atomic)}


TYPES: Final[dict[str, Type]] = _extended(
    parse((files(__package__) / "types.txt").read_text()), "HTTPIngressPath", "property=5001 {any}~"
)
