"""Where the settings file is found, and what it says of clusters."""

from __future__ import annotations

from pathlib import Path

import pytest

from certferry import clusters as fleet
from certferry.core.x509.expiry import Limits
from certferry.settings import UserError

ONE = "clusters: [{name: %s, kubeconfig: kubeconfig, elb: {url: 'http://127.0.0.1:1', credentials_file: e.json}}]\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with nothing of their own."""
    monkeypatch.delenv("CERTFERRY_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def put(file: Path, name: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(ONE % name)
    return file


def names(found: fleet.Fleet) -> list[str]:
    return [cluster.name for cluster in found.clusters]


def test_the_nearest_file_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / "state" / "certferry" / "certferry.yaml", "up")
    assert names(fleet.read()) == ["up"]
    put(home / "config" / "certferry" / "certferry.yaml", "mine")
    assert names(fleet.read()) == ["mine"]
    put(home / "other" / "certferry.yaml", "named-directory")
    assert names(fleet.read(state=home / "other")) == ["named-directory"]
    monkeypatch.setenv("CERTFERRY_CONFIG", str(put(home / "environment.yaml", "environment")))
    assert names(fleet.read(state=home / "other")) == ["environment"]
    assert names(fleet.read(put(home / "flag.yaml", "flag"))) == ["flag"]


def test_a_file_without_clusters_keeps_those_of_the_state_directory(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home / "up" / "certferry.yaml", "up")
    settings = home / "settings.yaml"
    settings.write_text("controller: {max_sni_certificates: 60}\n")
    monkeypatch.setenv("CERTFERRY_CONFIG", str(settings))
    assert names(fleet.read(state=home / "up")) == ["up"]
    with pytest.raises(UserError, match="names no cluster"):
        fleet.read()


def test_paths_are_relative_to_the_file(home: Path) -> None:
    found = fleet.read(put(home / "a" / "settings.yaml", "x")).cluster()
    assert found.kubeconfig == home / "a" / "kubeconfig"
    assert found.elb_place.credentials_file == home / "a" / "e.json"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clusters: []", "names no cluster"),
        ("elb: {}", "names no cluster"),
        ("clusters: [{kubeconfig: x}]", "name"),
        ("clusters: [{name: a}, {name: a}]", "two entries named “a”"),
        ("clusters: [{name: a, elb: {uri: x}}]", "uri"),
        ("clusters: [{name: a, roles: {chief: {}}}]", "chief"),
        ("[]", "needs a mapping"),
        (": :", "neither YAML nor JSON"),
    ],
)
def test_unusable_settings_are_reported_in_one_sentence(home: Path, text: str, says: str) -> None:
    file = home / "settings.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=says) as refused:
        fleet.read(file)
    assert str(file) in str(refused.value)


def test_without_a_file_the_error_says_what_to_do() -> None:
    with pytest.raises(UserError, match="certferry up"):
        fleet.read()


def test_one_of_several_clusters_must_be_named(home: Path) -> None:
    file = home / "settings.yaml"
    file.write_text("clusters: [{name: a}, {name: b}]")
    found = fleet.read(file)
    assert found.cluster("b").name == "b"
    with pytest.raises(UserError, match="“a”, “b”"):
        found.cluster()
    with pytest.raises(UserError, match="no cluster “c”"):
        found.cluster("c")


def test_a_role_that_is_not_listed_gets_no_access(home: Path) -> None:
    file = home / "settings.yaml"
    file.write_text("clusters: [{name: a, kubeconfig: k, roles: {reader: {kubeconfig: r}}}]")
    cluster = fleet.read(file).cluster()
    with pytest.raises(UserError, match="“member” no access"):
        cluster.kube("member")


def test_the_section_alerts_says_when_a_renewal_is_late(home: Path) -> None:
    file = put(home / "own.yaml", "own")
    assert fleet.read(file).cluster().limits == Limits()
    file.write_text(file.read_text() + "\nalerts: {renewal_late_days: 20}\n")
    assert fleet.read(file).cluster().limits == Limits(late_days=20)
