"""The vendor's own clients, unchanged, over the lifecycle of what an Ingress needs."""

from __future__ import annotations

from typing import Any

import openstack
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkelb import v3
from otcextensions import sdk

from tests.certs import Pair, authority
from tests.elb.api.server import Elb


@pytest.fixture
def huawei(elb: Elb) -> Any:
    admin = elb.credentials.admin
    credentials = BasicCredentials(admin.access_key, admin.secret_key, elb.credentials.project_id)
    return v3.ElbClient.new_builder().with_credentials(credentials).with_endpoint(elb.origin).build()


@pytest.fixture
def otc(elb: Elb) -> Any:
    connection = openstack.connect(
        auth_type="password",
        auth={
            "auth_url": f"{elb.origin}/v3",
            "username": elb.credentials.admin.username,
            "password": elb.credentials.admin.password,
            "project_name": elb.credentials.project,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        region_name="local",
        identity_api_version="3",
        load_yaml_config=False,
        load_envvars=False,
    )
    sdk.register_otc_extensions(connection)
    return connection.vlb


def pair() -> Pair:
    return authority().issue("client.example")


def test_huaweicloudsdkelb(huawei: Any) -> None:
    first, renewed = pair(), pair()

    def create(kind: str, option: Any, request: Any, body: Any, **more: Any) -> Any:
        made = getattr(huawei, f"create_{kind}")(request(body=body(option), **more))
        return getattr(made, {"member": "member", "load_balancer": "loadbalancer"}.get(kind, kind))

    lb = create(
        "load_balancer",
        v3.CreateLoadBalancerOption(name="sdk", availability_zone_list=["eu-de-01"], vpc_id="v"),
        v3.CreateLoadBalancerRequest,
        v3.CreateLoadBalancerRequestBody,
    )
    certificate = create(
        "certificate",
        v3.CreateCertificateOption(
            name="sdk", certificate=first.certificate, private_key=first.key, domain="client.example"
        ),
        v3.CreateCertificateRequest,
        v3.CreateCertificateRequestBody,
    )
    listener = create(
        "listener",
        v3.CreateListenerOption(
            loadbalancer_id=lb.id,
            protocol="HTTPS",
            protocol_port=443,
            default_tls_container_ref=certificate.id,
            sni_container_refs=[certificate.id],
        ),
        v3.CreateListenerRequest,
        v3.CreateListenerRequestBody,
    )
    pool = create(
        "pool",
        v3.CreatePoolOption(listener_id=listener.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN"),
        v3.CreatePoolRequest,
        v3.CreatePoolRequestBody,
    )
    member = create(
        "member",
        v3.CreateMemberOption(address="127.0.0.1", protocol_port=8080),
        v3.CreateMemberRequest,
        v3.CreateMemberRequestBody,
        pool_id=pool.id,
    )

    option = v3.UpdateCertificateOption(certificate=renewed.certificate, private_key=renewed.key)
    body = v3.UpdateCertificateRequestBody(option)
    request = v3.UpdateCertificateRequest(certificate_id=certificate.id, body=body)
    assert huawei.update_certificate(request).certificate.certificate == renewed.certificate
    listed = huawei.list_certificates(v3.ListCertificatesRequest(id=[certificate.id], name=["sdk", "x"]))
    assert [one.fingerprint for one in listed.certificates] != [certificate.fingerprint]
    option = v3.UpdateListenerOption(http2_enable=True)
    body = v3.UpdateListenerRequestBody(option)
    request = v3.UpdateListenerRequest(listener_id=listener.id, body=body)
    assert huawei.update_listener(request).listener.http2_enable is True
    shown = huawei.show_load_balancer(v3.ShowLoadBalancerRequest(loadbalancer_id=lb.id)).loadbalancer
    assert [one.id for one in shown.listeners] == [listener.id]
    assert huawei.show_load_balancer_status(v3.ShowLoadBalancerStatusRequest(lb.id)).statuses

    with pytest.raises(ClientRequestException) as caught:
        huawei.delete_certificate(v3.DeleteCertificateRequest(certificate.id))
    assert (caught.value.status_code, caught.value.error_code) == (409, "ELB.8907")

    huawei.delete_member(v3.DeleteMemberRequest(pool_id=pool.id, member_id=member.id))
    huawei.delete_listener(v3.DeleteListenerRequest(listener.id))
    huawei.delete_pool(v3.DeletePoolRequest(pool.id))
    huawei.delete_certificate(v3.DeleteCertificateRequest(certificate.id))
    huawei.delete_load_balancer(v3.DeleteLoadBalancerRequest(lb.id))
    with pytest.raises(ClientRequestException) as caught:
        huawei.show_load_balancer(v3.ShowLoadBalancerRequest(loadbalancer_id=lb.id))
    assert (caught.value.status_code, caught.value.error_code) == (404, "ELB.8904")


def test_a_wrong_secret_key_is_refused(elb: Elb) -> None:
    credentials = BasicCredentials(elb.credentials.admin.access_key, "wrong", elb.credentials.project_id)
    client = v3.ElbClient.new_builder().with_credentials(credentials).with_endpoint(elb.origin).build()
    with pytest.raises(ClientRequestException) as caught:
        client.list_pools(v3.ListPoolsRequest())
    assert (caught.value.status_code, caught.value.error_code) == (401, "SYS.0401")


def test_otcextensions(otc: Any) -> None:
    first, renewed = pair(), pair()
    lb = otc.create_load_balancer(name="otc", availability_zone_list=["eu-de-01"], vpc_id="v")
    certificate = otc.create_certificate(
        name="otc", certificate=first.certificate, private_key=first.key, domain="client.example"
    )
    listener = otc.create_listener(
        loadbalancer_id=lb.id,
        protocol="HTTPS",
        protocol_port=443,
        default_tls_container_ref=certificate.id,
    )
    pool = otc.create_pool(listener_id=listener.id, protocol="HTTP", lb_algorithm="ROUND_ROBIN")
    member = otc.create_member(pool.id, address="127.0.0.1", protocol_port=8080)
    monitor = otc.create_health_monitor(pool_id=pool.id, type="TCP", delay=5, timeout=3, max_retries=3)

    # update_certificate(certificate, **attrs) cannot be given the field of the same name
    certificate.certificate, certificate.private_key = renewed.certificate, renewed.key
    changed = certificate.commit(otc)
    assert otc.get_certificate(changed.id).certificate == renewed.certificate
    assert otc.update_certificate(changed.id, description="d").description == "d"
    assert otc.find_certificate("otc").id == certificate.id
    assert certificate.id in [one.id for one in otc.certificates(limit=1)], "page by page"
    assert otc.update_listener(listener.id, name="l").name == "l"
    assert otc.update_pool(pool.id, name="p").name == "p"
    assert otc.update_member(member.id, pool.id, weight=7).weight == 7
    assert [one.id for one in otc.members(pool.id)] == [member.id]
    assert otc.get_load_balancer(lb.id).listeners == [{"id": listener.id}]
    assert next(iter(otc.availability_zones())).code == "eu-de-01"
    assert [one.name for one in otc.flavors(name="L7_flavor.elb.s1.small")] == ["L7_flavor.elb.s1.small"]
    with pytest.raises(openstack.exceptions.ConflictException):
        otc.delete_certificate(certificate.id, ignore_missing=False)

    otc.delete_health_monitor(monitor.id, ignore_missing=False)
    otc.delete_member(member.id, pool.id, ignore_missing=False)
    otc.delete_listener(listener.id, ignore_missing=False)
    otc.delete_pool(pool.id, ignore_missing=False)
    otc.delete_certificate(certificate.id, ignore_missing=False)
    otc.delete_load_balancer(lb.id, ignore_missing=False)
    assert otc.find_certificate("otc", ignore_missing=True) is None
