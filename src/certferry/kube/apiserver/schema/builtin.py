"""Every field of every type that this server accepts, from the table ``types.txt``.

``tools/kube_types.py`` writes the table from Kubernetes 1.37; ``schema.types`` describes its format. One field is
added: ``property`` of an ingress path, the match mode of the vendor's ingresses, which a stock server rejects.
Its number is far from upstream's.
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
