"""What the console works out by itself, without a browser: forms, diffs, impact, lists, sessions, words."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from certferry.console.judge import deletion as impact
from certferry.console.judge.certificate import CertificateContext, check_certificate_form
from certferry.console.judge.preview import preview_change
from certferry.console.judge.secret import objection
from certferry.console.pages.ingresses.form import IDS, IngressForm, Sni, applied, form_of
from certferry.console.pages.ingresses.listener_annotations import Access, Redirect
from certferry.console.pages.objects.diff import (
    APPLIED,
    KEPT,
    NEW,
    diff,
    merge_patch,
    nothing_to_keep,
    readable,
    restored,
    text,
)
from certferry.console.pages.timeline import draw
from certferry.console.state.cluster_view import derive
from certferry.console.state.elb_sites import ElbLogin, role_of
from certferry.console.state.sessions import Session, Sessions
from certferry.console.web import formatting as words
from certferry.console.web.errors import PageError
from certferry.console.web.listing import ROWS, Column, TablePage
from certferry.console.web.security import local_path
from certferry.core.model.kubernetes import MATCH_MODE, Name, ObjectRef
from certferry.core.model.problems import Problem, Reason
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.expiry import Limits
from certferry.core.x509.pem import parse_chain
from certferry.elb.client.credentials import Credentials
from certferry.kube.apiserver.schema import patch as server
from tests.core.support.fixtures import BALANCER, NOW, observed, view
from tests.support.certs import authority

SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {
        "name": "site",
        "namespace": "shop",
        "resourceVersion": "7",
        "annotations": {APPLIED: '{"data":{"tls.key":"S0VZ"}}', "note": "x"},
        "managedFields": [{"manager": "kubectl"}],
    },
    "type": "kubernetes.io/tls",
    "data": {"tls.crt": "Q1JU", "tls.key": "S0VZ"},
}
INGRESS: dict[str, Any] = {
    "metadata": {"name": "site", "annotations": {"kubernetes.io/elb.id": "lb-1"}},
    "spec": {
        "ingressClassName": "cce",
        "tls": [{"hosts": ["b.example.com"], "secretName": "b"}, {"secretName": "site"}],
        "rules": [
            {
                "host": "shop.example.com",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "property": {"kept": "yes"},
                            "backend": {"service": {"name": "web", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ],
    },
}


# -- objects


def test_the_yaml_of_a_secret_masks_its_values_and_restores_unchanged_ones() -> None:
    shown = text(readable(SECRET))
    assert "S0VZ" not in shown
    assert "managedFields" not in shown
    assert shown.count(KEPT) == 2
    edited = yaml.safe_load(shown)
    assert diff(SECRET, restored(edited, SECRET)) == []
    other = copy.deepcopy(edited)
    other["data"]["tls.key"] = "T1RIRVI="
    changes = [line.text for line in diff(SECRET, restored(other, SECRET)) if line.kind != "same"]
    assert changes == [f"-  tls.key: '{KEPT}'", f"+  tls.key: '{NEW}'"]
    assert "T1RIRVI=" not in text(readable({**SECRET, "stringData": {"tls.key": "T1RIRVI="}}))
    edited["data"]["extra"] = "bmV3"
    whole = restored(edited, SECRET)
    assert whole["data"] == {"tls.crt": "Q1JU", "tls.key": "S0VZ", "extra": "bmV3"}
    assert whole["metadata"]["annotations"] == SECRET["metadata"]["annotations"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def without_null(value: Any) -> Any:
    """A merge patch cannot write a null, and Kubernetes keeps none."""
    if isinstance(value, dict):
        return {k: without_null(v) for k, v in value.items() if v is not None}
    return value


@given(st.dictionaries(st.sampled_from("abc"), JSON), st.dictionaries(st.sampled_from("abc"), JSON))
def test_the_merge_patch_turns_the_old_object_into_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    old, new = without_null(old), without_null(new)
    assert server.merge_patch(old, merge_patch(old, new)) == new


# -- the form of an Ingress


def test_the_form_of_an_ingress_round_trips() -> None:
    form = form_of(INGRESS)
    assert (form.protocol, form.source, form.secret) == ("HTTPS", "secret", "site")
    assert form.sni == (Sni("b.example.com", "b"),)
    assert applied(form, INGRESS) == INGRESS


def annotated(**notes: str) -> dict[str, Any]:
    """The Ingress with further annotations of the ELB."""
    known = {f"kubernetes.io/elb.{name.replace('_', '-')}": value for name, value in notes.items()}
    meta = INGRESS["metadata"]
    return {**INGRESS, "metadata": {**meta, "annotations": {**meta["annotations"], **known}}}


def test_the_access_list_is_three_annotations_and_round_trips() -> None:
    closed = annotated(acl_id="g-1,g-2", acl_status="on", acl_type="white")
    everybody, off = annotated(acl_id=""), annotated(acl_id="g-1", acl_status="off", acl_type="black")
    for obj, mode, groups in (
        (INGRESS, "", ()),
        (closed, "white", ("g-1", "g-2")),
        (everybody, "all", ()),
        (off, "all", ()),
        (annotated(acl_id="g-1"), "", ()),
    ):
        form = form_of(obj)
        assert (form.access.mode, form.access.groups) == (mode, groups)
        assert applied(form, obj) == obj, "what is left alone stays as it was written"
    chosen = structs.replace(form_of(INGRESS), access=Access(mode="white", groups=("g-1", "g-2")))
    assert applied(chosen, INGRESS) == closed
    assert applied(structs.replace(form_of(closed), access=Access(mode="all")), closed) == everybody
    assert applied(structs.replace(form_of(closed), access=Access()), closed) == INGRESS


def test_the_http_redirect_is_two_annotations_and_keeps_the_port_afterwards() -> None:
    both = annotated(listen_ports='[{"HTTP":8080},{"HTTPS":8443}]', ssl_redirect="true")
    form = form_of(both)
    assert (form.redirect, form.options["port"]) == (Redirect(on=True, port="8080"), "8443")
    assert applied(form, both) == both
    ended = applied(structs.replace(form, redirect=Redirect()), both)
    assert ended == annotated(port="8443")
    begun = structs.replace(form_of(ended), redirect=Redirect(on=True, port="8080"))
    assert applied(begun, ended) == annotated(
        port="8443", listen_ports='[{"HTTP":8080},{"HTTPS":8443}]', ssl_redirect="true"
    )
    moved = structs.replace(form, options={**form.options, "port": ""})
    notes = applied(moved, both)["metadata"]["annotations"]
    assert notes["kubernetes.io/elb.listen-ports"] == '[{"HTTP":8080},{"HTTPS":443}]'
    plain = annotated(listen_ports='[{"HTTP":80},{"HTTPS":443}]')
    assert applied(form_of(plain), plain) == plain, "two ports without a redirect are left alone"


def test_regular_expressions_are_stored_as_an_annotation() -> None:
    form = form_of(INGRESS)
    row = structs.replace(form.forwarding[0], matching="REGEX", path="/v[0-9]+/")
    chosen = applied(structs.replace(form, forwarding=(*form.forwarding, row)), INGRESS)
    assert chosen["metadata"]["annotations"][MATCH_MODE] == "REGEX"
    first, second = chosen["spec"]["rules"][0]["http"]["paths"]
    assert (first["pathType"], first["property"]) == ("Prefix", {"kept": "yes"})
    assert (second["pathType"], second["path"]) == ("ImplementationSpecific", "/v[0-9]+/")
    assert form_of(chosen).forwarding == (*form.forwarding, row)
    assert applied(form_of(chosen), chosen) == chosen
    assert applied(structs.replace(form_of(chosen), forwarding=form.forwarding), chosen) == INGRESS


def test_an_elb_certificate_is_written_as_the_annotation_and_leaves_the_tls() -> None:
    before = copy.deepcopy(INGRESS)
    chosen = form_of(INGRESS)
    form = IngressForm(
        source="elb",
        certificate="c-1",
        sni_certificates=("c-2", "c-1"),
        options=chosen.options,
        forwarding=chosen.forwarding,
    )
    changed = applied(form, INGRESS)
    assert changed["metadata"]["annotations"][IDS] == "c-1,c-2"
    assert changed["spec"] == INGRESS["spec"]
    assert before == INGRESS
    back = applied(form_of(INGRESS), changed)
    assert back == INGRESS


def test_a_new_secret_keeps_hosts_and_hidden_fields_of_rules() -> None:
    form = form_of(INGRESS)
    rows = (*form.forwarding, form.forwarding[0].__class__("x.example.com", "Exact", "/x", "api", "http"))
    changed = applied(IngressForm(secret="new", sni=(), options=form.options, forwarding=rows), INGRESS)
    assert changed["spec"]["tls"] == [{"secretName": "new"}]
    first, second = changed["spec"]["rules"]
    assert first == INGRESS["spec"]["rules"][0]
    assert second["http"]["paths"][0]["backend"] == {"service": {"name": "api", "port": {"name": "http"}}}
    named = {"metadata": {"name": "n"}, "spec": {"tls": [{"hosts": ["a.example"], "secretName": "a"}]}}
    assert applied(IngressForm(secret="b", options=form_of(named).options), named)["spec"]["tls"] == [
        {"hosts": ["a.example"], "secretName": "b"}
    ]


# -- certificates while one types


def test_a_certificate_is_checked_with_the_present_key() -> None:
    old, new = authority().issue("a.example", days=10), authority().issue("a.example", days=90)
    place = CertificateContext(
        present=parse_chain(old.certificate), serving=parse_chain(old.certificate), hosts=("a.example",)
    )
    now = datetime.now(UTC)
    assert "does not match" in check_certificate_form(new.certificate, "", place, now).errors["private_key"]
    assert check_certificate_form(new.certificate, new.key, place, now).errors == {}
    judged = check_certificate_form(old.certificate, "", place, now)
    assert judged.errors == {}
    other = authority().issue("b.example", days=90)
    assert "not for a.example" in check_certificate_form(other.certificate, other.key, place, now).errors["certificate"]
    assert check_certificate_form("", "", place, now).errors == {"certificate": "The certificate is empty."}


def test_check_results_hold_no_key() -> None:
    pair = authority().issue("a.example")
    assert "PRIVATE" not in repr(
        check_certificate_form(pair.certificate, pair.key, CertificateContext(), datetime.now(UTC))
    )


# -- what a deletion does

SHARED = """
objects:
- kind: Ingress
  metadata: {name: first}
  spec: {ingressClassName: cce, tls: [{secretName: site}], rules: [{host: shop.example.com}]}
- kind: Ingress
  metadata: {name: second}
  spec: {ingressClassName: cce, tls: [{hosts: [b.example.com], secretName: b}], rules: [{host: b.example.com}]}
secrets: {site: {}, b: {names: [b.example.com]}}
observed:
  certificates:
    c-site: {secret_id: uid-site, content: site, domain: [shop.example.com]}
    c-b: {secret_id: uid-b, content: b, names: [b.example.com], domain: [b.example.com]}
  listeners:
    li-443: {protocol: HTTPS, protocol_port: 443, default_tls_container_ref: c-site, sni_container_refs: [c-b]}
"""


def test_deleting_a_listener_owner_shows_the_impact_on_the_shared_listener() -> None:
    given = yaml.safe_load(SHARED)
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    world = derive(view(given), observed(given["observed"]), options, Limits(), NOW)
    preview = impact.of_ingress(world, Name("shop", "first"), options, NOW)
    assert any(
        "Port 443 stays open for other Ingresses, and Ingress shop/second becomes its listener owner" in t
        for t in preview
    ), preview
    assert any("b.example.com" in t for t in preview)
    other = impact.of_ingress(world, Name("shop", "second"), options, NOW)
    assert other[0] == "Port 443 does not change for the other Ingresses on it."
    assert impact.of_secret(world, Name("shop", "b"))[0] == "One Ingress names it: shop/second."
    assert "nothing renews it" in impact.of_secret(world, Name("shop", "b"))[1]


# -- what would come of a form


def test_a_choice_is_previewed_by_the_controllers_own_translation() -> None:
    given = yaml.safe_load(SHARED)
    options = TranslateOptions(cluster_name="test", default_loadbalancer=BALANCER.id)
    world = derive(view(given), observed(given["observed"]), options, Limits(), NOW)
    body = {
        "metadata": {"name": "third", "namespace": "shop", "creationTimestamp": NOW.isoformat()},
        "spec": {
            "ingressClassName": "cce",
            "tls": [{"hosts": ["b.example.com"], "secretName": "site"}],
            "rules": [{"host": "c.example.com"}],
        },
    }
    chain = world.uses[0].chain
    assert chain
    preview = preview_change(world, options, body, [chain], NOW)
    assert preview.present is None
    assert preview.chosen == chain
    assert preview.rejected == ()  # nothing valid is in service for the host
    assert {p.reason for p in preview.problems} == {"SniConflict", "HostNotCovered"}
    hosts = {host.host: host for host in preview.hosts}
    assert "does not cover c.example.com" in hosts["c.example.com"].problem
    assert hosts["c.example.com"].after  # of another Ingress
    assert not hosts["b.example.com"].changes  # the oldest Ingress keeps it
    present = preview_change(world, options, body | {"metadata": {"name": "first", "namespace": "shop"}}, [chain], NOW)
    assert present.present == chain


# -- lists


def listing(**query: str) -> TablePage[int]:
    columns = (Column("n", "Number", lambda n: n), Column("x", "Fixed"))
    return TablePage(list(range(100)), columns, query, str, "row")


def test_a_list_is_searched_sorted_and_paged_from_its_address() -> None:
    assert listing().rows == list(range(ROWS))
    assert listing(sort="-n", page="2").rows == list(range(99 - ROWS, 99 - 2 * ROWS, -1))
    matching = listing(q="9")
    assert (matching.matches, matching.count, listing().count) == (19, "19 of 100 rows", "100 rows")
    assert matching.url(page=2) == "?q=9&page=2"
    assert listing(page="3").url(sort="n") == "?sort=n"
    assert matching.sorting(matching.columns[0]) == "?q=9&sort=n"


@pytest.mark.parametrize(
    ("query", "status"),
    [({"page": "0"}, 400), ({"page": "-1"}, 400), ({"page": "²"}, 400), ({"page": "5"}, 404), ({"sort": "x"}, 400)],
)
def test_an_invalid_page_or_sort_order_is_rejected(query: dict[str, str], status: int) -> None:
    with pytest.raises(PageError) as stop:
        listing(**query)
    assert stop.value.status == status


# -- who is logged in


def test_a_session_ends_when_unused_when_too_old_and_with_its_token() -> None:
    now = [datetime(2026, 11, 23, tzinfo=UTC)]
    ended: list[Session] = []
    sessions = Sessions(timedelta(hours=12), timedelta(hours=1), ended.append, lambda: now[0])

    def login(hours: float) -> ElbLogin:
        return ElbLogin(
            site="s", user="u", role="admin", url="http://e", credentials=Credentials(token="t"),
            expires=now[0] + timedelta(hours=hours),
        )  # fmt: skip

    unused, short = sessions.start(login(100)), sessions.start(login(0.5))
    busy = sessions.start(login(100))
    assert len({unused.id, short.id, busy.id}) == 3
    now[0] += timedelta(minutes=40)
    assert sessions.find(short.id) is None
    assert sessions.find(busy.id) is busy
    now[0] += timedelta(minutes=40)
    assert sessions.find(unused.id) is None
    for _ in range(15):
        now[0] += timedelta(minutes=50)
        found = sessions.find(busy.id)
    assert found is None
    assert ended == [short, unused, busy]
    assert "t" not in repr(busy.logins)
    assert not unused.accepts(busy.csrf)


def test_the_highest_known_role_counts_and_an_unknown_one_is_a_reader() -> None:
    assert role_of(("reader", "admin", "x"), {}) == "admin"
    assert role_of(("te_admin",), {}) == "reader"
    assert role_of(("te_admin",), {"te_admin": "member"}) == "member"


@pytest.mark.parametrize(
    ("path", "led"),
    [
        ("/clusters/a?q=b", "/clusters/a?q=b"),
        ("//evil.example", "/clusters"),
        ("/\\evil.example", "/clusters"),
        ("https://evil.example/", "/clusters"),
        ("javascript:alert(1)", "/clusters"),
        ("/a\nb", "/clusters"),
        ("", "/clusters"),
    ],
)
def test_a_login_redirects_only_to_pages_of_the_console(path: str, led: str) -> None:
    assert local_path(path) == led


# -- words and the picture


def test_an_expiry_is_shown_in_one_unit_and_with_its_level() -> None:
    def pill(**left: float) -> tuple[str, str]:
        said = words.until(NOW + timedelta(**left), NOW - timedelta(days=10), now=NOW)
        return said.level, said.word

    assert pill(days=90, hours=5) == ("good", "90 days left")
    assert pill(days=6) == ("good", "6 days left"), "a certificate of 16 days is renewed later than one of a year"
    assert pill(days=4) == ("warn", "4 days left")
    assert pill(hours=5) == ("bad", "5 hours left")
    assert pill(days=-2) == ("bad", "Expired 2 days ago")
    assert words.fingerprint("ab" * 32) == "AB:AB:AB:AB:AB:AB:AB:AB"
    assert words.common_name("CN=Some CA,O=Us") == "Some CA"


def test_the_timeline_has_a_dot_per_expiry_and_counts_the_overflow() -> None:
    start = NOW - timedelta(days=90)
    lives = [(NOW - timedelta(days=1), start, "gone"), (NOW + timedelta(days=3), start, "soon")]
    lives += [(NOW + timedelta(days=200), start, f"n{i}") for i in range(40)]
    picture = draw(lives, NOW)
    xs = [dot.x for dot in picture.dots]
    assert xs == sorted(xs)
    assert [dot.level for dot in picture.dots[:3]] == ["bad", "bad", "good"]
    assert len(picture.dots) + sum(int(mark.label) for mark in picture.more) == 42
    assert picture.description.startswith(
        "2 certificates have expired or are about to expire, the renewal of 0 is late, 40 are in order"
    )


@pytest.mark.parametrize(
    ("reason", "sentence", "waits"),
    [
        ("CertificateExpired", "Rejected the new certificate: it expired.", True),
        ("CertificateQuarantined", "The content of the Secret is parked.", True),
        ("BreakGlassActive", "The certificate in service is another.", True),
        ("KeyTypeUncommon", "The certificate has a defect: its key is not accepted by common browsers.", False),
    ],
)
def test_only_blocking_problems_of_a_secret_are_its_objection(reason: Reason, sentence: str, waits: bool) -> None:
    secret = ObjectRef(kind="Secret", namespace="shop", name="site", uid="u")
    preview = objection([Problem(object=secret, reason=reason, sentence=sentence)])
    assert preview == (sentence if waits else "")


def test_a_placeholder_in_string_data_keeps_the_value() -> None:
    edited = {**SECRET, "data": {}, "stringData": {"tls.key": KEPT, "new": "typed"}}
    whole = restored(edited, SECRET)
    assert whole["data"] == {"tls.key": "S0VZ"}
    assert whole["stringData"] == {"new": "typed"}


@pytest.mark.parametrize("field", ["data", "stringData"])
def test_a_placeholder_without_a_value_is_named(field: str) -> None:
    assert nothing_to_keep({**SECRET, field: {"other": KEPT}}, SECRET) == [f"{field}.other"]
    assert nothing_to_keep({**SECRET, field: {"tls.key": KEPT}}, SECRET) == []
