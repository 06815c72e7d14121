"""`certferry service`: run a program as a systemd service of this machine.

Envoy is in the service's control group, and outlives a stop or restart of the service: the next start adopts it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from certferry.cli.lazy import TYPER
from certferry.settings import UserError
from certferry.up.environment import programs_folder

app = typer.Typer(help="Run a program as a systemd service of this machine.", no_args_is_help=True, **TYPER)

STATE: Final = "/var/lib/certferry"
USER: Final = "certferry"
_UNITS: Final = "etc/systemd/system"
_SYSUSERS: Final = "etc/sysusers.d/certferry.conf"


class Program(StrEnum):
    """A program that runs as a service."""

    UP = "up"
    ELB = "elb"
    CONTROLLER = "controller"
    CONSOLE = "console"


_TITLES: Final = {
    Program.UP: "Certferry, all programs of one machine",
    Program.ELB: "Certferry load balancer",
    Program.CONTROLLER: "Certferry controller",
    Program.CONSOLE: "Certferry console",
}
_FLAGS: Final = {Program.UP: f" --state {STATE} --no-demo", Program.ELB: f" --state {STATE}"}
_ENVOY: Final = (Program.UP, Program.ELB)
_TEMPLATE: Final = """\
# Written by `certferry service install`. Local changes belong in a drop-in: systemctl edit {name}
[Unit]
Description={title}
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart={program} {words}
{extra}User={user}
Group={user}
StateDirectory=certferry
StateDirectoryMode=0700
Restart=always
RestartSec=2
TimeoutStopSec=30
LimitNOFILE=1048576
UMask=0077

NoNewPrivileges=yes
AmbientCapabilities={capabilities}
CapabilityBoundingSet={capabilities}
ProtectSystem=strict
ProtectHome={home}
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit_name(program: Program) -> str:
    """Return the name of the unit that runs `program`."""
    return "certferry.service" if program is Program.UP else f"certferry-{program}.service"


def unit(program: Program, executable: Path, config: Path | None = None, encryption_key: Path | None = None) -> str:
    """Return the text of the unit that runs `program` by `executable`.

    `encryption_key`: a file that systemd passes on as a credential, so that the service's user need not read it.
    """
    extra = f"Environment=CERTFERRY_CONFIG={config}\n" if config else ""
    if encryption_key:
        extra += (
            f"LoadCredential=seal-key:{encryption_key}\nEnvironment=CERTFERRY_ELB_ENCRYPTION_KEY_FILE=%d/seal-key\n"
        )
    if program is Program.UP:
        extra += "Environment=CERTFERRY_UP_ON_EXIT=keep\n"
    if program in _ENVOY:
        extra += "# Envoy keeps serving while the service stops or restarts; only the main process gets SIGTERM.\n"
        extra += "KillMode=process\n"
    return _TEMPLATE.format(
        name=unit_name(program),
        title=_TITLES[program],
        program=executable,
        words=program + _FLAGS.get(program, ""),
        extra=extra,
        user=USER,
        capabilities="CAP_NET_BIND_SERVICE" if program in _ENVOY else "",
        home="read-only" if executable.is_relative_to("/home") or executable.is_relative_to("/root") else "yes",
    )


_Name = Annotated[Program, typer.Argument(help="up, elb, controller or console.")]
_Root = Annotated[Path, typer.Option(help="Write below this directory, for an image, and start nothing.")]


@app.command()
def install(
    program: _Name = Program.UP,
    config: Annotated[Path | None, typer.Option(help="Settings file of the service.")] = None,
    encryption_key: Annotated[
        Path | None, typer.Option(help="File with the encryption key, passed on as a credential.")
    ] = None,
    root: _Root = Path("/"),
) -> None:
    """Write the unit and its user, and start the service now and at each boot."""
    if encryption_key and program not in _ENVOY:
        raise UserError(f"Only {' and '.join(_ENVOY)} have an encryption key.")
    for file in filter(None, (config, encryption_key)):
        if not file.is_file():
            raise UserError(f"There is no file {file}.")
    executable = programs_folder() / "certferry"
    if not os.access(executable, os.X_OK):
        raise UserError(f"There is no {executable}: install the package into an environment of its own, as pipx does.")
    name = unit_name(program)
    text = unit(program, executable, config and config.absolute(), encryption_key and encryption_key.absolute())
    _write(root / _SYSUSERS, f'u {USER} - "Certferry" {STATE}\n')
    _write(root / _UNITS / name, text)
    typer.echo(f"Wrote {root / _UNITS / name}.")
    if root != Path("/"):
        return
    _systemd("systemd-sysusers", _SYSUSERS.rpartition("/")[2])
    _systemd("systemctl", "daemon-reload")
    _systemd("systemctl", "enable", "--now", name)
    typer.echo(f"{name} is started. Its log: journalctl -u {name}")


@app.command()
def uninstall(program: _Name = Program.UP, root: _Root = Path("/")) -> None:
    """Stop the service and remove its unit. The state stays, and Envoy keeps serving."""
    name = unit_name(program)
    path = root / _UNITS / name
    if not path.exists():
        raise UserError(f"There is no unit {path}: nothing is installed.")
    if root == Path("/"):
        _systemd("systemctl", "disable", "--now", name)
    path.unlink()
    typer.echo(f"Removed {path}. The state in {STATE} stays.")
    if root == Path("/"):
        _systemd("systemctl", "daemon-reload")
    if program in _ENVOY:
        typer.echo(f"Envoy keeps serving. To end it too: pkill -u {USER} -x envoy")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): run it as root.") from None


def _systemd(*command: str) -> None:
    if not shutil.which(command[0]):
        raise UserError(f"{command[0]} is not here: `certferry service` needs systemd, or --root.")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
