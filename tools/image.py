"""Build the images of the Containerfile: `certferry` and `certferry-controller`.

    python -m tools.image                        # with Docker, or buildah where there is no Docker engine
    python -m tools.image --base IMAGE --tag 0.2.0
    python -m tools.image --base debian          # with buildah: a base made by mmdebstrap from Debian's packages

If buildah cannot pull the base, the base is made as with `--base debian`. That needs root, and apt's own sources on a
Debian system.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TARGETS: Final = ("certferry-controller", "certferry")
PULLED: Final = "docker.io/library/python:3.13-slim"
MADE: Final = "localhost/certferry-base"
BUILDAH: Final = ("buildah",)
"""Its own variable STORAGE_DRIVER chooses another driver, such as vfs where overlays cannot be mounted."""
_PACKAGES: Final = "python3,python3-venv,libstdc++6,ca-certificates"
_SOURCES: Final = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")


def build(base: str, tag: str, *, docker: bool) -> None:
    """Build both images with the tag `tag`, with Docker if allowed. Exits with a sentence if a tool is missing."""
    with tempfile.TemporaryDirectory() as scratch:
        secrets = _pip_secrets(Path(scratch))
        if docker and base != "debian" and _works("docker", "info"):
            command, local = ["docker", "build", "--build-arg", f"BASE={base}"], ""
        elif shutil.which("buildah"):
            chosen = _buildah_base(base)
            # chroot: works without namespaces of its own
            command = [*BUILDAH, "bud", "--isolation", "chroot", "--build-arg", f"BASE={chosen}"]
            local = "localhost/"
        else:
            sys.exit("Neither Docker nor buildah is here: install one, as in `apt-get install buildah`.")
        for target in TARGETS:
            began = time.monotonic()
            name = f"{local}{target}:{tag}"
            _run([*command, *secrets, "--target", target, "--tag", name, "-f", "Containerfile", "."])
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def _buildah_base(base: str) -> str:
    if base != "debian" and _works(*BUILDAH, "pull", "--quiet", base):
        return base
    if _works(*BUILDAH, "inspect", "--type", "image", MADE):
        return MADE
    if not shutil.which("mmdebstrap"):
        sys.exit(f"{base} cannot be pulled, and mmdebstrap is not here to make a base: install it, or name a BASE.")
    print("Making a base from Debian's packages, once ...", flush=True)
    sources = next((path for path in _SOURCES if Path(path).exists()), "")
    codename = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().split("\n") if "=" in line)
    with tempfile.TemporaryDirectory() as scratch:
        tar = f"{scratch}/base.tar"
        suite = codename["VERSION_CODENAME"]
        _run(
            ["mmdebstrap", "--quiet", "--variant=essential", f"--include={_PACKAGES}", suite, tar]
            + [sources] * bool(sources)
        )
        container = subprocess.check_output([*BUILDAH, "from", "scratch"], text=True).strip()
        _run([*BUILDAH, "add", "--quiet", container, tar, "/"])
        _run([*BUILDAH, "commit", "--quiet", "--rm", container, MADE])
    return MADE


def _pip_secrets(scratch: Path) -> list[str]:
    """Return flags that give the build this machine's configuration of pip: index and CA, if it has any."""
    settings = dict(
        line.split("=", 1)
        for line in subprocess.check_output([sys.executable, "-m", "pip", "config", "list"], text=True).splitlines()
        if "=" in line
    )
    given = {name.rpartition(".")[2]: value.strip("'\"") for name, value in settings.items()}
    lines, flags = ["[global]"], []
    lines += [f"{key} = {given[key]}" for key in ("index-url", "extra-index-url", "trusted-host") if key in given]
    if authority := given.get("cert"):
        lines.append("cert = /etc/pip-ca.crt")
        flags += ["--secret", f"id=ca.crt,src={authority}"]
    if len(lines) > 1:
        file = scratch / "pip.conf"
        file.write_text("\n".join(lines) + "\n")
        flags += ["--secret", f"id=pip.conf,src={file}"]
    return flags


def _works(*command: str) -> bool:
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, check=False, cwd=ROOT).returncode == 0


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed with status {done.returncode}.")


def main() -> None:
    """Build both images from dist/."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default=os.environ.get("BASE", PULLED))
    parser.add_argument("--tag", default="latest")
    parser.add_argument("--buildah", action="store_true", help="with buildah, even if there is a Docker engine")
    chosen = parser.parse_args()
    if len(list((ROOT / "dist").glob("certferry-*.whl"))) != 1:
        sys.exit("dist/ needs the one wheel to install: make wheel.")
    build(chosen.base, chosen.tag, docker=not chosen.buildah)


if __name__ == "__main__":
    main()
