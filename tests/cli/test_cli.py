"""Errors of the command line: one line, an exit code, no traceback."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.x509 import DNSName, load_pem_x509_certificate
from cryptography.x509.verification import PolicyBuilder, Store

from certferry import __version__
from certferry.core.x509.pem import InvalidPem, covers, parse_chain, parse_pair
from certferry.demo.ca import open_authority
from certferry.up.saved_state import SavedState


def certferry(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "certferry", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line that a refused command wrote."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("certferry: ")
    return lines[0]


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port with a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def memory(**changes: int | str) -> bytes:
    """A remembered choice of ports."""
    ports = {"kube_port": 20001, "elb_port": 20002, "metrics_port": 20003, "backend_port": 20004}
    rest = {"subnet": "127.44.5.0/24", "privileged_shift": 8000, "loadbalancer_id": ""}
    return msgspec.json.encode(msgspec.convert(ports | rest | changes, SavedState))


@pytest.mark.parametrize("program", ["elb", "console"])
def test_up_rejects_tls_settings_of_its_own_programs(tmp_path: Path, program: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"{program}: {{tls_certificate: a.pem, tls_key: a.key}}\n")
    said = refusal(certferry("up", "--state", tmp_path / "state", "--config", file))
    assert f"leave out {program}.tls_certificate" in said
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "--bogus"], "certferry: No such option: --bogus. See `certferry plan --help`."),
        (["cert", "rollback"], "certferry: Missing argument 'certificate'. See `certferry cert rollback --help`."),
        (["bogus"], "certferry: No such command 'bogus'. See `certferry --help`."),
    ],
)
def test_a_usage_error_shows_the_help_of_its_command(words: list[str], said: str) -> None:
    assert refusal(certferry(*words)) == said


def test_version() -> None:
    assert certferry("version").stdout.strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", "--nonsense"),
        ("up", "--ready-timeout", "soon"),
        ("upp",),
        ("demo", "certificate", "--days", "many"),
        ("demo", "certificate", "--bad", "smell"),
        ("demo", "backend", "--listen", "nowhere"),
    ],
)
def test_invalid_flags_are_reported_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    refusal(certferry(*arguments, XDG_STATE_HOME=str(tmp_path)))


def test_an_unwritable_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / "state"
    assert str(state) in refusal(certferry("up", "--state", state))


def test_a_second_instance_on_the_same_state_is_rejected(tmp_path: Path) -> None:
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        line = refusal(certferry("up", "--state", tmp_path))
    assert "4711" in line
    assert "--state" in line


def test_an_occupied_port_is_reported_with_its_purpose(tmp_path: Path, taken: int) -> None:
    (tmp_path / "up.json").write_bytes(memory(elb_port=taken))
    line = refusal(certferry("up", "--state", tmp_path))
    assert f"127.0.0.1:{taken} (ELB API)" in line
    assert not (tmp_path / "endpoints.json").exists()


def test_an_occupied_backend_port_is_reported_in_one_line(taken: int) -> None:
    assert str(taken) in refusal(certferry("demo", "backend", "--listen", f"127.0.0.1:{taken}"))


def test_a_state_directory_of_a_newer_version_is_unchanged(tmp_path: Path) -> None:
    newer = json.dumps({"format": 99, "something": "new"})
    (tmp_path / "up.json").write_text(newer)
    assert "newer" in refusal(certferry("up", "--state", tmp_path), code=3)
    assert (tmp_path / "up.json").read_text() == newer


def test_a_damaged_state_directory_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("{")
    assert "damaged" in refusal(certferry("up", "--state", tmp_path))


def test_errors_in_a_settings_file_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("up: {sate: /tmp}")
    assert "up.sate" in refusal(certferry("up", "--config", file))
    file.write_text(": : :")
    assert str(file) in refusal(certferry("up", "--config", file))
    (tmp_path / "file").touch()
    file.write_text(f"up: {{state: {tmp_path}/file/of-the-file}}")
    assert "of-the-file" in refusal(certferry("up", "--config", file))
    assert "of-the-environment" in refusal(
        certferry("up", "--config", file, CERTFERRY_UP_STATE=f"{tmp_path}/file/of-the-environment")
    )


def test_an_error_of_a_program_reaches_the_user_of_up(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("kube: {speed: fast}")
    line = refusal(certferry("up", "--state", tmp_path / "state", "--config", file))
    assert "kube: " in line
    assert "kube.speed" in line


def test_no_token_without_a_running_system(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(certferry("demo", "token", "--state", tmp_path))


def test_no_demo_certificate_is_issued_by_a_ca_that_nothing_uses(tmp_path: Path) -> None:
    assert "start `certferry up`" in refusal(certferry("demo", "certificate", "--state", tmp_path / "s"))
    assert not (tmp_path / "s").exists()


def test_without_a_running_system_the_session_reaches_no_cluster(tmp_path: Path) -> None:
    done = certferry("demo", "env", "--state", tmp_path)
    assert done.returncode != 0
    assert done.stdout == "export KUBECONFIG=/dev/null\n"
    assert "start `certferry up`" in done.stderr


def made(tmp_path: Path, *arguments: str) -> tuple[Path, Path, Path]:
    state = tmp_path / "state"
    open_authority(state / "demo", datetime.now(UTC))
    done = certferry("demo", "certificate", "--state", state, "--out", tmp_path / "made", *arguments)
    assert done.returncode == 0, done.stderr
    files = tuple(tmp_path / f"made.{end}" for end in ("crt", "key", "json"))
    assert {stat.S_IMODE(f.stat().st_mode) for f in (*files, state / "demo" / "ca.key")} == {0o600}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    return files[0], files[1], files[2]


def test_a_demo_certificate_is_good_and_of_the_one_demo_ca(tmp_path: Path) -> None:
    certificate, key, body = made(tmp_path, "--days", "7", "--host", "shop.example.test")
    pair = parse_pair(certificate.read_text(), key.read_text())
    assert pair.chain.names == ("shop.example.test",)
    assert timedelta(days=6.9) < pair.chain.not_after - datetime.now(UTC) < timedelta(days=7.1)
    wire = json.loads(body.read_text())["certificate"]
    assert wire["certificate"] == certificate.read_text()
    assert wire["private_key"] == key.read_text()
    authority = (tmp_path / "state" / "demo" / "ca.crt").read_text()
    trusted = Store([load_pem_x509_certificate(authority.encode())])
    strict = PolicyBuilder().store(trusted).build_server_verifier(DNSName("shop.example.test"))
    strict.verify(load_pem_x509_certificate(certificate.read_bytes()), [])
    made(tmp_path)
    assert (tmp_path / "state" / "demo" / "ca.crt").read_text() == authority


def test_bad_demo_certificates_have_the_requested_defect(tmp_path: Path) -> None:
    def read(bad: str) -> tuple[str, str]:
        certificate, key, _ = made(tmp_path, "--bad", bad)
        return certificate.read_text(), key.read_text()

    with pytest.raises(InvalidPem):
        parse_pair(*read("mismatch"))
    parse_chain(read("mismatch")[0])
    with pytest.raises(InvalidPem):
        parse_chain(read("garbage")[0])
    assert parse_pair(*read("expired")).chain.not_after < datetime.now(UTC)
    elsewhere = parse_pair(*read("wrong-host")).chain
    assert not covers(elsewhere.names, "hello.certferry.test")


def test_no_command_prints_a_key(tmp_path: Path) -> None:
    state = tmp_path / "state"
    open_authority(state / "demo", datetime.now(UTC))
    for bad in (None, "mismatch", "garbage", "expired", "wrong-host"):
        done = certferry("demo", "certificate", "--state", state, *(["--bad", bad] if bad else []))
        key = (state / "demo" / f"{bad or 'new'}.key").read_text()
        secret = key.splitlines()[1]
        assert secret not in done.stdout + done.stderr


def test_a_check_distinguishes_failures_of_an_address(taken: int) -> None:
    unresolved = certferry("cert", "check", "nowhere.invalid:443")
    assert "not resolved" in unresolved.stdout
    assert "Try --connect ADDRESS." in unresolved.stdout
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        refused = certferry("cert", "check", f"shop.example.com:{port}", "--connect", "127.0.0.1")
    assert "not reached" in refused.stdout
    assert f"127.0.0.1:{port} refuses connections" in refused.stdout
    silent = certferry("cert", "check", f"127.0.0.1:{taken}")
    assert "handshake failed" in silent.stdout
    assert {unresolved.returncode, refused.returncode, silent.returncode} == {1}


def test_an_old_command_names_the_new_one() -> None:
    assert "certferry rotate-encryption-key" in refusal(certferry("rotate-seal-key", "--state", "/nowhere"))


@pytest.mark.parametrize(
    ("command", "old", "new"), [("up", "--patience", "--ready-timeout"), ("controller", "--hold-off", "--debounce")]
)
def test_an_old_flag_names_the_new_one(command: str, old: str, new: str) -> None:
    assert f"It is {new} now." in refusal(certferry(command, old, "3"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--days", "nan"], "--days"),
        (["--days", "1e9"], "--days"),
        (["--host", ""], "--host"),
        (["--host", "h\u00e9llo.test"], "--host"),
    ],
)
def test_an_impossible_demo_certificate_is_refused(arguments: list[str], word: str) -> None:
    assert word in refusal(certferry("demo", "certificate", *arguments))


def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "certferry", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["certferry: The output cannot be written: No space left on device."]


def test_an_unknown_section_of_the_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("controler: {probe_interval: 5}")
    assert "controler" in refusal(certferry("cert", "ls", "--config", file))


def test_a_subnet_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    assert "vip_subnet" in refusal(certferry("elb", "--state", tmp_path, "--vip-subnet", "banana"))
