"""The tree stays readable: small folders, no import circles, one meaning per public class name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.repository.prose import ROOT, all_hits, sources

SRC = ROOT / "src" / "certferry"
MOST_ENTRIES = 16
EXEMPT = {"__pycache__", "testdata"}
"""Golden files are exempt."""
LAYERS = ("core", "controller", "console", "alerts", "clusters", "elb/client", "elb/server", "kube/client")
"""Folders in which a public class name has one meaning; ``kube/apiserver`` mirrors the names of Kubernetes."""


def code_folders() -> Iterator[Path]:
    for root in (ROOT / "src", ROOT / "tests", ROOT / "bench", ROOT / "tools"):
        for folder in (root, *root.rglob("*")):
            if folder.is_dir() and not EXEMPT.intersection(folder.relative_to(ROOT).parts):
                yield folder


def test_no_folder_of_code_has_more_than_16_entries() -> None:
    counts = {
        str(folder.relative_to(ROOT)): len([e for e in folder.iterdir() if e.name not in EXEMPT])
        for folder in code_folders()
    }
    assert len(counts) > 50
    assert {name: count for name, count in counts.items() if count > MOST_ENTRIES} == {}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


def imports() -> Iterator[tuple[str, str]]:
    """Each import inside the package as (importer, imported), dotted from ``certferry``."""
    modules = {module_name(path): path for path in sources("src") if path != SRC / "__init__.py"}
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("certferry"):
                base = (node.module or "").removeprefix("certferry").removeprefix(".")
                for alias in node.names:
                    target = f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base
                    if target in modules and target != name:
                        yield name, target


def neighbours(edges: list[tuple[str, str]], folder: str) -> Mapping[str, set[str]]:
    """Which entries of `folder` import which others."""
    depth, graph = len(folder.split(".")) if folder else 0, defaultdict(set)
    for importer, imported in edges:
        inside = [not folder or name.startswith(f"{folder}.") for name in (importer, imported)]
        if all(inside):
            first, second = importer.split(".")[depth], imported.split(".")[depth]
            if first != second:
                graph[first].add(second)
    return graph


def test_no_two_folders_or_files_import_each_other() -> None:
    edges = list(imports())
    assert len(edges) > 1000
    folders = {"", *(name.rsplit(".", count)[0] for name, _ in edges for count in range(1, name.count(".") + 1))}
    circles = {
        f"{folder or 'certferry'}: {first} <-> {second}"
        for folder in folders
        for graph in [neighbours(edges, folder)]
        for first, targets in graph.items()
        for second in targets
        if first < second and first in graph.get(second, ())
    }
    assert sorted(circles) == []


def test_a_public_class_name_has_one_meaning_in_its_layer() -> None:
    defined: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sources("src"):
        where = path.relative_to(SRC).as_posix()
        layer = next((layer for layer in LAYERS if where.startswith(f"{layer}/")), None)
        if layer is not None:
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    defined[layer, node.name].append(where)
    assert {f"{layer}: {name}": places for (layer, name), places in defined.items() if len(places) > 1} == {}


def test_prose_and_names_keep_the_writing_rules() -> None:
    assert [str(hit) for hit in all_hits()] == []
