"""Golden cases of usage: a cluster and an ELB in, where each certificate is used out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from certferry.core.diagnosis.cluster import diagnose
from certferry.core.diagnosis.host_state import HostProbe
from certferry.core.diagnosis.usage import Touched, Use, touched_by, uses
from certferry.core.model.kubernetes import Name
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.expiry import Limits
from tests.core.support.fixtures import BALANCER, NOW, observed, view
from tests.support import golden

OPTIONS = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)


@pytest.mark.parametrize("path", golden.cases("usage"))
def test_golden(path: Path, pytestconfig: pytest.Config) -> None:
    golden.check(path, _produce, rewrite=pytestconfig.getoption("golden"))


def _produce(given: Any) -> Any:
    shown = []
    for place, fingerprint in given.get("shown", {}).items():
        port, _, host = place.partition("/")
        address = BALANCER.vip_address or ""
        shown.append(HostProbe(address=address, port=int(port), sni=host, fingerprint=fingerprint))
    found = uses(diagnose(view(given), observed(given["observed"]), OPTIONS, NOW, Limits(), shown))
    touched = {what: _touched(touched_by(found, _what(what))) for what in given["touched"]}
    return {"uses": [_use(use) for use in found], "touched": touched}


def _what(text: str) -> str | Name:
    namespace, slash, name = text.partition("/")
    return Name(namespace, name) if slash else text


def _use(use: Use) -> Any:
    shown: dict[str, Any] = {
        "slot": f"{use.listener}:{use.port} {use.slot}",
        "certificate": use.certificate,
        "content": use.chain.digest if use.chain else None,
        "source": use.source + (f" {use.secret}" if use.secret else ""),
        "governing": str(use.governing) if use.governing else None,
        "served": use.served,
    }
    lists = {"names": use.names, "hosts": use.hosts, "ingresses": [str(i) for i in use.ingresses]}
    return shown | {key: list(value) for key, value in lists.items() if value}


def _touched(it: Touched) -> Any:
    return {
        "listeners": list(it.listeners),
        "loadbalancers": list(it.loadbalancers),
        "hosts": list(it.hosts),
        "ingresses": [str(name) for name in it.ingresses],
    }
