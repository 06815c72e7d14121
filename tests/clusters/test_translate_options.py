"""Controller, console and command line translate by the same options, from one settings file."""

from __future__ import annotations

from pathlib import Path

import pytest

from certferry import clusters
from certferry.clusters.translate_options import cluster_options, options_of
from certferry.core.checks import CheckPolicy
from certferry.settings import ControllerSettings, read

FILE = """
controller: {class_name: acme, checks: {KeyReused: refuse}, max_sni_certificates: 7, max_sni_names: 9,
             namespaces_of_host: {shop.example.com: [shop]}, default_loadbalancer: lb-1, backends: pod}
clusters:
- {name: one, kubeconfig: kubeconfig, elb: {url: "http://127.0.0.1:1"}}
- {name: two, kubeconfig: kubeconfig, elb: {url: "http://127.0.0.1:1"}, class_name: own, default_loadbalancer: lb-2}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CERTFERRY_CONFIG", raising=False)
    path = tmp_path / "certferry.yaml"
    path.write_text(FILE)
    return path


def test_every_setting_of_the_controller_reaches_console_and_command_line(file: Path) -> None:
    settings = read(ControllerSettings, "controller", {}, {}, file)
    one = clusters.read(file).cluster("one")
    options = cluster_options(one)
    assert options == options_of(settings, one)
    assert (options.class_name, options.cluster_name, options.default_loadbalancer) == ("acme", "one", "lb-1")
    assert (options.max_sni, options.max_sni_names, options.backends) == (7, 9, "pod")
    assert options.checks == CheckPolicy(actions={"KeyReused": "refuse"}, skew=300.0)
    assert options.admission.hosts == {"shop.example.com": ("shop",)}


def test_an_entry_of_the_file_wins_over_the_section(file: Path) -> None:
    options = cluster_options(clusters.read(file).cluster("two"))
    assert (options.class_name, options.cluster_name, options.default_loadbalancer) == ("own", "two", "lb-2")
    assert options.max_sni == 7
