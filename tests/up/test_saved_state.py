"""What `up` chooses at its first start, remembers, and tells."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import msgspec

from certferry.settings import UpSettings, read, state_default
from certferry.up import banner, endpoints_file, free_ports
from certferry.up.saved_state import SavedState, load, save

SAVED = SavedState(
    kube_port=20001,
    elb_port=20002,
    metrics_port=20003,
    backend_port=20004,
    subnet="127.44.5.0/24",
    privileged_shift=8000,
    loadbalancer_id="7b4f",
)

ENDPOINTS = endpoints_file.Endpoints(
    kubeconfig="/var/my state/kubeconfig",
    elb=endpoints_file.Elb(
        url="http://127.0.0.1:20002",
        project_id="p",
        username="admin",
        password="hush-password",
        domain="Default",
        access_key="AK",
        secret_key="hush-secret",
        loadbalancer_id="7b4f",
    ),
    console=endpoints_file.Console(url="http://127.0.0.1:4"),
    metrics=endpoints_file.Metrics(url="http://127.0.0.1:20003/metrics"),
    port_map={"80": 8080, "443": 8443},
    pid=1,
    processes={"kube": 2},
)


def test_ports_are_free_distinct_and_outside_the_ephemeral_range() -> None:
    ports = free_ports.free_ports(4)
    assert len(set(ports)) == 4
    assert all(free_ports.bindable("127.0.0.1", port) and 20_000 <= port < 32_000 for port in ports)


def test_a_port_with_a_listener_is_not_bindable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not free_ports.bindable("127.0.0.1", server.getsockname()[1])


def test_a_shifted_port_is_usable() -> None:
    subnet = free_ports.free_subnet()
    shift = free_ports.privileged_shift(subnet)
    assert all(free_ports.bindable(free_ports.first_address(subnet), port + shift) for port in (80, 443))


def test_occupied_privileged_ports_are_shifted() -> None:
    subnet = free_ports.free_subnet()
    shift = free_ports.privileged_shift(subnet)
    with socket.create_server((free_ports.first_address(subnet), 443 + shift)):
        assert free_ports.privileged_shift(subnet) > shift


def test_saved_choices_survive_a_restart(tmp_path: Path) -> None:
    assert load(tmp_path / "up.json") is None
    save(tmp_path / "up.json", SAVED)
    assert load(tmp_path / "up.json") == SAVED


def test_endpoints_are_private_and_not_printed(tmp_path: Path) -> None:
    file = tmp_path / "endpoints_file.json"
    endpoints_file.publish(file, ENDPOINTS)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert msgspec.json.decode(file.read_bytes(), type=endpoints_file.Endpoints) == ENDPOINTS
    assert "hush" not in repr(ENDPOINTS)
    assert list(tmp_path.iterdir()) == [file]


def test_the_banner_is_short_and_its_command_verifies() -> None:
    text = banner.block(Path("/var/my state"), ENDPOINTS, demo=True)
    assert all(len(line) <= 80 for line in text.splitlines() if "/bin/" not in line)
    assert "demo env --state '/var/my state'" in text
    (curl,) = [line for line in text.replace("\\\n ", "").splitlines() if "https://" in line]
    assert '--cacert "$DEMO"/ca.crt  --resolve hello.certferry.test:$HTTPS_PORT:$IP' in curl
    assert " -k" not in text
    assert "insecure" not in text
    assert "hush" not in text
    assert "\nkubectl create secret tls" in text


def test_without_a_demo_the_banner_names_the_addresses() -> None:
    text = banner.block(Path("/var/state"), ENDPOINTS, demo=False)
    assert "http://127.0.0.1:20002" in text
    assert len(text.splitlines()) <= 5


def test_flags_override_environment_overrides_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("up: {demo: false, ready_timeout: 1, state: /from/file}")
    environment = {"CERTFERRY_UP_READY_TIMEOUT": "2", "CERTFERRY_UP_STATE": "/from/environment"}
    settings = read(UpSettings, "up", {"state": Path("/from/flag"), "demo": None}, environment, file)
    assert settings == UpSettings(state=Path("/from/flag"), demo=False, ready_timeout=2)


def test_the_state_directory_follows_xdg() -> None:
    assert state_default({"XDG_STATE_HOME": "/x"}) == Path("/x/certferry")
    assert state_default({}) == Path.home() / ".local/state/certferry"
