"""Every page in examples/ is followed word for word, on one running system with its demo."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.system import System
from tests.e2e.support.waiting import until
from tests.up.terminal import Terminal

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
PAGES = sorted(EXAMPLES.glob("*/README.md"))
LOOKS = ("python see.py", "curl ")
"""What only looks may look again until it sees what the page says; everything else is done once."""


class Demo(System):
    """`certferry up` as `make up` starts it."""

    def command(self) -> list[str]:
        return [part for part in super().command() if part != "--no-demo"]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with tempfile.TemporaryDirectory(prefix="cf-") as place:
        running = Demo(Path(place, "s"))
        running.start()
        yield running
        running.stop()


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Each command of the page's console blocks, and what it says to print ("" for nothing in particular)."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for said in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = said.partition("\n")
            yield command, printed


@pytest.fixture
def terminal(demo: Demo) -> Iterator[Terminal]:
    shell = Terminal(EXAMPLES)
    shell.paste(f"export STATE={demo.state} KUBECONFIG={demo.endpoints.kubeconfig}")
    shell.paste(f"export PATH={Path(sys.executable).parent}:$PATH")
    yield shell
    shell.close()


def _see(terminal: Terminal, command: str, said: str) -> None:
    def seen() -> bool:
        printed = terminal.attempt(command)[1]
        assert printed == said
        return True

    until(seen, f"`{command}` prints what the page says")


@pytest.mark.parametrize("page", PAGES, ids=[page.parent.name for page in PAGES])
def test_an_example_does_what_its_page_describes(page: Path, terminal: Terminal) -> None:
    for command, said in commands(page):
        if command.startswith(LOOKS):
            _see(terminal, command, said)
        elif said:
            assert terminal.paste(command) == said, command
        else:
            terminal.paste(command)


def test_the_index_names_every_example() -> None:
    index = (EXAMPLES / "README.md").read_text()
    named = re.findall(r"^\| \[[\w-]+\]\(([\w-]+)/README\.md\)", index, re.MULTILINE)
    assert sorted(named) == [page.parent.name for page in PAGES]
