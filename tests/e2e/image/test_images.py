"""The images of the Containerfile, run without an engine: read-only root, no capabilities, user 65532.

`make test-image` builds them and runs this. bubblewrap makes the namespaces; what it needs is in docs/production.md.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from certferry import __version__
from tests.e2e.support.http import JsonApi
from tests.e2e.support.processes import children
from tests.e2e.support.separate_processes import ApartSystem
from tests.e2e.support.site import Site
from tests.e2e.support.tls import get
from tools.image import BUILDAH

pytestmark = pytest.mark.timeout(1200)  # a base is made and packages are installed

ROOT: Final = Path(__file__).parents[3]
TAG: Final = "test"
IMAGE_OF: Final = {"elb": "certferry", "controller": "certferry-controller"}


def buildah(*arguments: str) -> str:
    return subprocess.check_output([*BUILDAH, *arguments], text=True).strip()


class Image:
    """A built image, with its file system mounted."""

    def __init__(self, name: str) -> None:
        self.container = buildah("from", "--pull-never", f"localhost/{name}:{TAG}")
        self.root = Path(buildah("mount", self.container))
        described = json.loads(buildah("inspect", "--type", "image", f"localhost/{name}:{TAG}"))
        self.config: dict[str, Any] = described["OCIv1"]["config"]

    def command(self, *arguments: str, mount: Path | None = None, environment: tuple[str, ...] = ()) -> list[str]:
        """How to run it as the Pods of deploy/ do."""
        user, _, group = self.config["User"].partition(":")
        variables = [flag for e in (*self.config["Env"], *environment) for flag in ("--setenv", *e.split("=", 1))]
        home = self.config["WorkingDir"]
        return [
            *("bwrap", "--unshare-all", "--share-net", "--die-with-parent", "--cap-drop", "ALL", "--clearenv"),
            *("--uid", user, "--gid", group, "--ro-bind", str(self.root), "/"),
            *("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", home),
            *(("--bind", str(mount), str(mount)) if mount else ()),
            *(*variables, "--chdir", home, *self.config["Entrypoint"], *arguments),
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60, check=False)


class ImageSystem(ApartSystem):
    """ELB and controller run from their images; the embedded Kubernetes API from this environment."""

    def __init__(self, state: Path, images: dict[str, Image]) -> None:
        super().__init__(state)
        self.images = images

    def _run(self, *arguments: str) -> None:
        image = self.images.get(IMAGE_OF.get(arguments[0], ""))
        if image is None:
            super()._run(*arguments)
            return
        with self.output.open("ab") as output:
            command = image.command(*arguments, mount=self.state)
            self._children[arguments[0]] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def stop(self) -> int:
        for name in IMAGE_OF.keys() & self._children.keys():
            for monitor in children(self._children[name].pid):  # bwrap itself forwards no signal
                for program in children(monitor):
                    os.kill(program, signal.SIGINT)
        return super().stop()


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, Image]]:
    build = [sys.executable, "-m", "tools.image", "--tag", TAG, "--buildah"]
    subprocess.run(build, cwd=ROOT, check=True)
    made = {name: Image(name) for name in IMAGE_OF.values()}
    yield made
    for image in made.values():
        buildah("rm", image.container)


def test_an_image_has_only_its_programs(images: dict[str, Image]) -> None:
    for image in images.values():
        assert image.run("version").stdout.strip() == __version__
        assert image.config["User"] == "65532:65532"
    controller, whole = images["certferry-controller"], images["certferry"]
    assert "needs the extra “elb”" in controller.run("elb").stderr
    assert not list(controller.root.glob("opt/certferry/lib/*/site-packages/envoy"))
    assert list(whole.root.glob("opt/certferry/bin/envoy"))
    for image in images.values():
        assert not list(image.root.glob("opt/certferry/bin/pip*"))


def test_a_certificate_rotates_on_the_elb_of_the_image(images: dict[str, Image], place: Path, backend: int) -> None:
    system = ImageSystem(place / "s", images)
    system.start_kube()
    try:
        system.start()
        assert JsonApi(system.endpoints.elb.url, {}).call("GET", "/healthz").status == 200
        shop = Site(system, "image", 18443, backend)
        first, second = shop.pair(), shop.pair()
        shop.publish(first)
        shop.shows(first)
        shop.put_secret(second)
        shop.shows(second)
        assert get(shop.address, shop.host) == 200
    finally:
        system.stop()
