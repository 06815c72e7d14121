"""Procedure 2: a certificate that lives on the ELB is chosen on the ingress, or gets new content."""

from __future__ import annotations

from tests.e2e.conftest import MakeSite
from tests.e2e.support.objects import CERTIFICATE_IDS
from tests.e2e.support.site import INGRESS, Site
from tests.e2e.support.tls import fingerprint, get
from tests.e2e.support.waiting import until
from tests.support.certs import authority


def test_the_chosen_certificate_is_served_and_only_it_is_bound(site: MakeSite) -> None:
    shop = site("chosen")
    secret, chosen = shop.pair(), shop.pair()
    shop.publish(secret)
    shop.shows(secret)

    identity = shop.post_certificate(chosen)
    choose(shop, f"{CERTIFICATE_IDS}={identity}")

    shop.shows(chosen)
    until(lambda: _bound(shop) == (identity, []), "only the ELB's certificate is bound")
    assert get(shop.address, shop.host) == 200


def test_the_chosen_certificate_needs_no_secret(site: MakeSite) -> None:
    shop = site("no-secret")
    chosen = shop.pair()
    identity = shop.post_certificate(chosen)
    shop.publish(None, {CERTIFICATE_IDS: identity})
    shop.shows(chosen)
    assert get(shop.address, shop.host) == 200


def test_without_the_annotation_the_secrets_certificate_is_back_and_current(site: MakeSite) -> None:
    shop = site("back")
    first, chosen, changed_meanwhile = shop.pair(), shop.pair(), shop.pair()
    shop.publish(first)
    shop.shows(first)
    choose(shop, f"{CERTIFICATE_IDS}={shop.post_certificate(chosen)}")
    shop.shows(chosen)
    shop.apply_secret(*changed_meanwhile)

    choose(shop, f"{CERTIFICATE_IDS}-")

    shop.shows(changed_meanwhile)
    until(lambda: _bound(shop)[0] == shop.own_certificate()["id"], "the Secret's certificate is bound")


def test_new_content_is_served_by_every_listener_that_uses_it(site: MakeSite) -> None:
    here, there = site("here"), site("there")
    first = authority().issue(here.host, there.host)
    second = authority().issue(here.host, there.host)
    identity = here.post_certificate(first)
    for each in (here, there):
        each.publish(None, {CERTIFICATE_IDS: identity})
    for each in (here, there):
        each.shows(first)

    here.put_certificate(identity, second)

    for each in (here, there):
        each.shows(second)
        assert each.listener()["default_tls_container_ref"] == identity


def test_a_certificate_in_use_is_not_deleted(site: MakeSite) -> None:
    shop = site("in-use")
    pair = shop.pair()
    identity = shop.post_certificate(pair)
    shop.publish(None, {CERTIFICATE_IDS: identity})
    shop.shows(pair)
    assert shop.elb.call("DELETE", shop.system.elb_path("certificates", identity)).status == 409
    shop.shows(pair)


def choose(shop: Site, annotation: str) -> None:
    """Choose an ELB certificate with kubectl (procedure 2)."""
    shop.system.kubectl("annotate", "ingress", INGRESS, "-n", shop.name, "--overwrite", annotation)


def _bound(shop: Site) -> tuple[str, list[str]]:
    listener = shop.listener()
    return listener["default_tls_container_ref"], listener["sni_container_refs"] or []


def test_new_content_on_the_elb_is_noticed_by_the_controller_at_once(site: MakeSite) -> None:
    shop = site("noticed")
    chosen, renewed = shop.pair(), shop.pair()
    identity = shop.post_certificate(chosen)
    shop.publish(None, {CERTIFICATE_IDS: identity})
    shop.shows(chosen)

    shop.put_certificate(identity, renewed)

    # its poll is a minute apart: this comes by the event stream
    wanted = fingerprint(renewed.certificate)
    until(lambda: wanted in _rotation(shop), "the Ingress says what is served", seconds=10)


def _rotation(shop: Site) -> str:
    meta = shop.get("apis/networking.k8s.io/v1", "ingresses", INGRESS)["metadata"]
    return str(meta.get("annotations", {}).get("certferry.io/rotation", ""))
