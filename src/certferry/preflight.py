"""The platforms and the Python that Certferry supports. This file stands alone, because it runs before the install.

``make`` runs it with any Python 3, so it uses nothing newer than Python 3.6. `certferry up` runs it again, for a wheel.
"""

import os
import platform
import sys

SUPPORTED = "Linux on x86_64 or aarch64 with glibc 2.31 or newer, or macOS 15 or newer on Apple silicon"


def objection(system: str, machine: str, libc: str, release: str) -> str:
    """Return why this platform is not supported and what to do, in one sentence; "" if it is.

    `system` and `machine` are as in ``platform``, `libc` is like ``glibc 2.36``, `release` the macOS version.
    """
    if system == "Linux":
        if machine not in ("x86_64", "aarch64"):
            return _unsupported("Linux on " + machine)
        name, _, version = libc.partition(" ")
        if name != "glibc":
            return _unsupported("a Linux without glibc (" + (libc.strip() or "musl?") + ")")
        if _numbers(version) < (2, 31):
            return _unsupported("glibc " + version)
        return ""
    if system == "Darwin":
        if machine != "arm64":
            return _unsupported("macOS on " + machine)
        if _numbers(release) < (15,):
            return _unsupported("macOS " + release)
        return ""
    return _unsupported(system)


def python_objection(version: "tuple[int, int]", has_venv: bool) -> str:
    """Return the same for a Python that is too old or cannot make virtual environments."""
    if version < (3, 11):
        return (
            "Certferry needs Python 3.11 or newer, and this is Python {}.{}: install a newer one "
            "and name it, as in `make up PYTHON=python3.12`.".format(*version)
        )
    if not has_venv:
        return (
            "This Python {}.{} cannot make virtual environments (its venv or ensurepip module is missing): "
            "install it (Debian and Ubuntu: `sudo apt install python3-venv`), or name another Python, "
            "as in `make up PYTHON=python3.12`.".format(*version)
        )
    return ""


def platform_objection() -> str:
    """Return the objection to this machine; "" if there is none."""
    libc = ""
    if platform.system() == "Linux":
        try:
            libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
        except (ValueError, OSError):
            libc = ""
    return objection(platform.system(), platform.machine(), libc, platform.mac_ver()[0])


def here() -> str:
    """Return the objection to this machine and this Python; "" if there is none."""
    return platform_objection() or python_objection(sys.version_info[:2], _has_venv())


def _has_venv() -> bool:
    try:
        import ensurepip
        import venv
    except ImportError:
        return False
    return bool(ensurepip and venv)


def _numbers(version: str) -> "tuple[int, ...]":
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _unsupported(what: str) -> str:
    return "Certferry does not run on {}: it needs {}; use such a machine, or a container or VM of that kind.".format(
        what, SUPPORTED
    )


if __name__ == "__main__":
    trouble = here()
    if trouble:
        sys.exit(trouble)
