"""Procedure 1: the Secret changes, and the same certificate on the ELB follows it."""

from __future__ import annotations

from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkelb.v3 import (
    DeleteCertificateRequest,
    ElbClient,
    UpdateCertificateOption,
    UpdateCertificateRequest,
    UpdateCertificateRequestBody,
)

from tests.e2e.conftest import MakeSite
from tests.e2e.support.site import SECRET, Site, described
from tests.e2e.support.system import System
from tests.e2e.support.tls import get


@pytest.fixture(scope="module")
def sdk(system: System) -> Any:
    """The official client, with the AK/SK of endpoints.json."""
    door = system.endpoints.elb
    credentials = BasicCredentials(door.access_key, door.secret_key, door.project_id)
    return ElbClient.new_builder().with_credentials(credentials).with_endpoint(door.url).build()


def test_applying_the_secret_changes_the_served_certificate(site: MakeSite) -> None:
    shop = site("renewal")
    first, second = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    assert get(shop.address, shop.host) == 200
    before = shop.own_certificate()

    shop.apply_secret(*second)
    shop.shows(second)

    after = shop.own_certificate()
    assert after["id"] == before["id"]
    assert after["name"].startswith("k8s_plb_default")
    assert described(after)["secret_id"] == shop.uid()
    assert shop.listener()["default_tls_container_ref"] == before["id"]
    assert get(shop.address, shop.host) == 200


def test_an_admin_cannot_change_or_delete_a_managed_certificate(site: MakeSite) -> None:
    shop = site("locked")
    first, other = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    own = shop.own_certificate()
    path = shop.system.elb_path("certificates", own["id"])
    content = {"certificate": {"certificate": other.certificate, "private_key": other.key}}

    for answer in (
        shop.elb.call("PUT", path, content),
        shop.elb.call("PUT", path, {"certificate": {"name": "mine"}}),
        shop.elb.call("DELETE", path),
    ):
        assert answer.status == 409, answer
        assert answer.body["error_code"] == "ELB.8907"
        _says_where(answer.body["error_msg"], shop, own)

    assert shop.own_certificate() == own
    shop.shows(first)


def test_the_official_client_gets_the_same_error(site: MakeSite, sdk: Any) -> None:
    shop = site("locked-sdk")
    first, other = shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    own = shop.own_certificate()
    option = UpdateCertificateOption(certificate=other.certificate, private_key=other.key)
    body = UpdateCertificateRequestBody(certificate=option)

    with pytest.raises(ClientRequestException) as changed:
        sdk.update_certificate(UpdateCertificateRequest(certificate_id=own["id"], body=body))
    with pytest.raises(ClientRequestException) as deleted:
        sdk.delete_certificate(DeleteCertificateRequest(certificate_id=own["id"]))

    for refused in (changed.value, deleted.value):
        assert (refused.status_code, refused.error_code) == (409, "ELB.8907")
        _says_where(refused.error_msg, shop, own)
    shop.shows(first)


def test_no_other_user_creates_a_certificate_named_like_a_managed_one(site: MakeSite) -> None:
    shop = site("impostor")
    pair = shop.pair()
    path = shop.system.elb_path("certificates")
    content = {"certificate": pair.certificate, "private_key": pair.key}
    for looks in ({"name": "k8s_plb_default_x"}, {"name": "x", "description": '{"secret_id":"1"}'}):
        answer = shop.elb.call("POST", path, {"certificate": {**content, **looks}})
        assert answer.status == 409, answer


def _says_where(sentence: str, shop: Site, own: dict[str, Any]) -> None:
    extra = own["certferry"]
    assert extra["owner"] in sentence or extra["source"]["cluster"] in sentence
    assert f"{shop.name}/{SECRET}" in sentence
    assert "secret" in sentence.lower()
