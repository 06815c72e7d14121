"""Write the types of the embedded Kubernetes API from Kubernetes' own sources.

``python tools/kube_types.py SOURCES OPENAPI``: SOURCES holds the Go modules ``api@VERSION`` and
``apimachinery@VERSION`` of k8s.io, as ``go mod download`` leaves them; OPENAPI the OpenAPI v3 documents of a
running API server (``kubectl get --raw /openapi/v3/api/v1 > core.json``, and so on for every group). What it
writes is committed: ``types.txt`` (fields, numbers, how they merge) and ``schemas.jsonl`` (descriptions for
`kubectl explain`) in ``src/certferry/kube/apiserver``. Run it again to follow a newer Kubernetes.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "src" / "certferry" / "kube" / "apiserver"
ROOTS = {
    "api.core.v1": "Namespace Secret ConfigMap Service Endpoints Event Node Pod ServiceAccount",
    "api.discovery.v1": "EndpointSlice",
    "api.networking.v1": "Ingress IngressClass",
    "api.coordination.v1": "Lease",
    "api.apps.v1": "Deployment",
    "api.rbac.v1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "api.authorization.v1": "SelfSubjectAccessReview SelfSubjectRulesReview",
    "api.authentication.v1": "SelfSubjectReview",
    "apimachinery.pkg.apis.meta.v1": "DeleteOptions",
}
SCALARS = {name: name for name in ("string", "bool", "int32", "int64", "byte")}
FOREIGN = {
    "Time": "Time",
    "MicroTime": "MicroTime",
    "IntOrString": "IntOrString",
    "Quantity": "Quantity",
    "FieldsV1": "FieldsV1",
    "UID": "string",
    "RawExtension": "any",
}
FIELD = re.compile(r"^\s+(?:(\w+)\s+)?(\S+)\s+`([^`]*)`")


class Sources:
    """The parsed contents of SOURCES and OPENAPI."""

    def __init__(self, root: Path, documents: Path) -> None:
        self.structs: dict[tuple[str, str], list[str]] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        for package in ROOTS:
            module, *rest = package.split(".")
            folder = next(root.glob(f"{module}@*")).joinpath(*rest)
            for file in sorted(folder.glob("*types.go")) + sorted(folder.glob("micro_time.go")):
                self._read(package, file.read_text())
        self.schemas: dict[str, Any] = {}
        for file in sorted(documents.glob("*.json")):
            self.schemas |= json.loads(file.read_text())["components"]["schemas"]

    def _read(self, package: str, text: str) -> None:
        for found in re.finditer(r"^type (\w+) struct \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            self.structs[package, found[1]] = found[2].splitlines()
        for found in re.finditer(r"^type (\w+) ((?:\[\]|map\[|\w)[\w.\[\]*]*)$", text, re.MULTILINE):
            self.aliases[package, found[1]] = found[2]

    def schema(self, package: str, name: str) -> Any:
        """Return the OpenAPI schema of a type, empty if it has none."""
        return self.schemas.get(f"io.k8s.{package}.{name}", {})


class Table:
    """The lines of types.txt, collected from the kinds down to their fields."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.lines: dict[str, str] = {}
        self.taken: dict[str, tuple[str, str]] = {}

    def name(self, package: str, name: str) -> str:
        """Return the short name of a type, unique in all packages."""
        short = name
        if self.taken.setdefault(short, (package, name)) != (package, name):
            short = package.split(".")[-2].capitalize() + name
            assert self.taken.setdefault(short, (package, name)) == (package, name), short
        if short not in self.lines:
            self.lines[short] = ""  # being written: types may be recursive
            flag = "~" if self.sources.schema(package, name).get("x-kubernetes-map-type") == "atomic" else ""
            fields = "; ".join(self._fields(package, name, 0))
            self.lines[short] = f"{short}{flag} @{package}.{name}: {fields}"
        return short

    def _fields(self, package: str, name: str, shift: int) -> list[str]:
        found: list[str] = []
        properties = self.sources.schema(package, name).get("properties", {})
        for line in self.sources.structs[package, name]:
            match = FIELD.match(line)
            if not match or "protobuf:" not in match[3]:
                continue
            go, tags = match[2], dict(re.findall(r'(\w+):"([^"]*)"', match[3]))
            json_name, *options = tags["json"].split(",")
            wire = tags["protobuf"].split(",")
            number = next(w for w in wire if w.isdigit())
            if "inline" in options or not json_name:
                if go.endswith("TypeMeta"):
                    continue
                inner_package, inner = self._resolve(package, go.lstrip("*"))
                label = inner[0].lower() + inner[1:]
                found.append(f"{label}={number} {self.name(inner_package, inner)}^")
                found += self._fields(inner_package, inner, shift + 1000)
                continue
            found.append(
                f"{json_name}={int(number) + shift} {self._type(package, go, options, properties.get(json_name, {}), tags)}"
            )
        return found

    def _type(self, package: str, go: str, options: list[str], schema: Any, tags: dict[str, str]) -> str:
        pointer = go.startswith("*")
        package, plain = self._unalias(package, go.lstrip("*"))
        struct = False
        if plain == "[]byte":
            text = "bytes"
        elif plain.startswith("[]"):
            text = f"[{self._element(package, plain[2:])}]" + self._list(schema, tags)
        elif plain.startswith("map["):
            inner = plain.partition("]")[2]
            atomic = "~" if schema.get("x-kubernetes-map-type") == "atomic" else ""
            text = f"{{{self._element(package, inner)}}}{atomic}"
        else:
            text = self._element(package, plain)
            struct = text not in {*SCALARS.values(), *FOREIGN.values()} or text in ("Time", "MicroTime")
        if pointer and text[0] not in "[{":
            text += "?"
        # What Go writes although it is unset: structs, and what is not marked omitempty.
        written = not pointer and (struct or "omitempty" not in options) and "omitzero" not in options
        if written:
            text += "!"
        default = schema.get("default")
        if isinstance(default, str) and default:
            text += f"={default}"
        return text

    def _list(self, schema: Any, tags: dict[str, str]) -> str:
        text = ""
        if tags.get("patchStrategy", "").startswith("merge"):
            text += "*" + tags.get("patchMergeKey", "")
        match schema.get("x-kubernetes-list-type"):
            case "map":
                text += "#" + ",".join(schema["x-kubernetes-list-map-keys"])
            case "set":
                text += "#"
        return text

    def _element(self, package: str, go: str) -> str:
        package, plain = self._unalias(package, go.lstrip("*"))
        if plain == "[]byte":
            return "bytes"
        if plain.startswith("[]"):
            return "any"
        if plain in SCALARS:
            return SCALARS[plain]
        owner, name = self._resolve(package, plain)
        if (owner, name) in self.sources.aliases:
            return self._element(owner, self.sources.aliases[owner, name])
        if name in FOREIGN:
            return FOREIGN[name]
        return self.name(owner, name)

    def _unalias(self, package: str, go: str) -> tuple[str, str]:
        if go.startswith(("[]", "map[")) or go in SCALARS:
            return package, go
        owner, name = self._resolve(package, go)
        if (owner, name) in self.sources.aliases:
            return self._unalias(owner, self.sources.aliases[owner, name])
        return (package, go) if name in FOREIGN else (owner, name)

    def _resolve(self, package: str, go: str) -> tuple[str, str]:
        prefix, dot, name = go.rpartition(".")
        if not dot:
            return package, go
        imports = {"metav1": "apimachinery.pkg.apis.meta.v1", "v1": "api.core.v1", "corev1": "api.core.v1"}
        known = self.sources.structs.keys() | self.sources.aliases.keys()
        if package == "api.core.v1" or ("api.core.v1", name) not in known:
            imports["v1"] = imports["metav1"]
        return imports.get(prefix, prefix), name


def main() -> None:
    """Write both files."""
    sources = Sources(Path(sys.argv[1]), Path(sys.argv[2]))
    table = Table(sources)
    for package, names in ROOTS.items():
        for name in names.split():
            table.name(package, name)
    wrapped = ["\n  ".join(textwrap.wrap(line, 108, break_long_words=False)) for line in table.lines.values()]
    (TARGET / "schema" / "types.txt").write_text("\n\n".join(wrapped) + "\n")
    full = [f"io.k8s.{package}.{name}" for package, name in table.taken.values()]
    extra = [
        n
        for n in sources.schemas
        if n.rpartition(".")[2] in ("Time", "MicroTime", "FieldsV1", "IntOrString", "Quantity")
    ]
    known = sorted(n for n in {*full, *extra} if n in sources.schemas)
    lines = [json.dumps([n, sources.schemas[n]], separators=(",", ":"), ensure_ascii=False) for n in known]
    (TARGET / "discovery" / "schemas.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
