"""Check the version of a release, and print its notes.

python -m tools.release check v0.2.0     # prints version=0.2.0, or what does not fit the tag
python -m tools.release notes            # prints the section of the changelog
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_PLACES: Final = {
    "pyproject.toml": r'^version = "(.+)"$',
    "src/certferry/__init__.py": r'^__version__ = "(.+)"$',
    "deploy/helm/certferry/Chart.yaml": r"^(?:version|appVersion): (.+)$",
    "deploy/kustomize/base/deployment.yaml": r"image: certferry-controller:(.+)$",
}
"""Files that hold the version, and where."""


def versions(root: Path = ROOT) -> dict[str, set[str]]:
    """Return file → the versions in it."""
    return {name: set(re.findall(how, (root / name).read_text(), re.MULTILINE)) for name, how in _PLACES.items()}


def section(version: str, root: Path = ROOT) -> tuple[str, str]:
    """Return heading and text of the section of `version` in the changelog; both are "" if there is none."""
    text = (root / "CHANGELOG.md").read_text()
    found = re.search(rf"^## ({re.escape(version)}\b[^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return (found[1], found[2].strip()) if found else ("", "")


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Return what keeps `tag` from being released."""
    version = tag.removeprefix("v")
    wrong = [
        f"{name} has {', '.join(sorted(has)) or 'no version'}"
        for name, has in versions(root).items()
        if has != {version}
    ]
    heading, text = section(version, root)
    if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", heading) or not text:
        wrong.append(f"CHANGELOG.md needs the heading “## {version} - DATE” and a text below it")
    return wrong


def main() -> None:
    """Check a tag, or print the notes of the present version."""
    match sys.argv[1:]:
        case ["check", tag]:
            if wrong := problems(tag):
                sys.exit(f"{tag} cannot be released: {'; '.join(wrong)}.")
            print(f"version={tag.removeprefix('v')}")
        case ["notes"]:
            (version,) = versions()["pyproject.toml"]
            print(section(version)[1])
        case _:
            sys.exit("usage: python -m tools.release check TAG | notes")


if __name__ == "__main__":
    main()
