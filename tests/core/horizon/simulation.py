"""One simulated year of renewals: the real core and alerts, an ELB in memory, a clock that jumps.

Certificates are facts, not files. The simulated issuer renews at two thirds of the lifetime, as cert-manager does. The
simulated operator renews a certificate two days after its first alert, unless it is a forgotten one.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from certferry.alerts.repeat_tracker import RepeatTracker
from certferry.core.decide import decide
from certferry.core.diagnosis.alert import Alert
from certferry.core.diagnosis.alert_rules import AlertInput, AlertRules, evaluate_alerts
from certferry.core.diagnosis.cluster import translate_cluster, with_host_states
from certferry.core.diagnosis.inventory import watched
from certferry.core.drift.drift import Modes
from certferry.core.memo import Memo
from certferry.core.model.elb import ListenerLimits
from certferry.core.model.kubernetes import ClusterView, Name, Secret, SecretProblem
from certferry.core.plan.steps import Step
from certferry.core.translate.listener_claims import TranslateOptions
from certferry.core.x509.chain import ChainCertificate, Purpose
from certferry.core.x509.pem import Chain
from tests.core.support.fixtures import BALANCER, CLUSTER, Elb, observed, view

START: Final = datetime(2028, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)
YEAR: Final = 366
"""Days of 2028."""
SHORTENED: Final = datetime(2028, 2, 16, tzinfo=UTC)
CA_DOWN: Final = (START + 90 * DAY, START + 93 * DAY)
CONTROLLER_DOWN: Final = (START + 130 * DAY, START + 131 * DAY)
QUOTA_FULL: Final = (START + 180 * DAY, START + 182 * DAY)
INTERMEDIATE_ENDS: Final = START + 240 * DAY + timedelta(hours=12)
NEW_CHAIN: Final = START + 190 * DAY
"""When the CA begins to send its new intermediate."""
OPERATOR: Final = 2 * DAY
FORGOTTEN_FOR: Final = 30 * DAY
BACKDATED: Final = timedelta(hours=1)
"""As public CAs do for clients whose clock is slow."""
PER_LISTENER: Final = 50
BAD: Final = ("another key", "other names", "expired", "not valid yet", "broken chain", "weak key")


class Pair(NamedTuple):
    """An issued certificate, and the truth about it, which the code under test does not see."""

    chain: Chain
    good: bool
    begins: datetime
    ends: datetime
    flaw: str = ""

    def valid(self, at: datetime) -> bool:
        return self.good and self.begins <= at < self.ends


class Exposure(NamedTuple):
    """A time in which a host was served an expired or broken certificate."""

    host: int
    begin: datetime
    minutes: float
    valid_pair: bool
    """True if there was a valid pair for it."""
    alerted: datetime | None
    """When its first alert since its last good certificate fired."""


class Report(NamedTuple):
    """The result of a year."""

    certificates: int
    renewals: int
    bad_renewals: Mapping[str, int]
    writes: int
    busiest: tuple[datetime, int]
    exposures: list[Exposure]
    alerts: Mapping[str, int]
    """First notifications by name."""
    waiting: Mapping[int, float]
    """Days for which a new host waited for the quota."""
    quota_alerts: int
    lifetimes: Mapping[int, int]
    """Renewals by days of life."""
    seconds: float

    @property
    def avoidable(self) -> float:
        """Minutes of expired certificates where a valid pair existed."""
        return sum(e.minutes for e in self.exposures if e.valid_pair)

    @property
    def not_alerted(self) -> list[Exposure]:
        return [e for e in self.exposures if e.alerted is None or e.alerted >= e.begin]


class QuotaFull(Exception):
    pass


class LimitedElb(Elb):
    """An ELB with a quota of certificates."""

    quota = 1_000_000

    def _certificate(self, step: Step, fields: dict[str, Any]) -> None:
        if step.verb == "create" and len(self.state.certificates) >= self.quota:
            raise QuotaFull(f"Quota exceeded: {self.quota} certificates")
        super()._certificate(step, fields)


def host(number: int) -> str:
    return f"h{number}.example.com"


class Issuer:
    """The CA, and what keeps the Secrets."""

    def __init__(self, certificates: int) -> None:
        self.history: dict[int, list[Pair]] = defaultdict(list)
        self.due: dict[int, datetime] = {}
        self.pinned = set(range(7, certificates, max(1, certificates // 10)))
        """Certificates whose issuer goes on with the old intermediate."""
        self.forgotten = set(sorted(self.pinned)[:2])
        """Certificates whose alerts the operator overlooks for a month; the first bad one of two kinds is another."""
        self.count = 0
        self.bad: Counter[str] = Counter()
        self.lifetimes: Counter[int] = Counter()
        self.by_day: Counter[datetime] = Counter()
        for number in range(certificates):
            life = self._life(number, START)
            share = (number * 0.618034) % 1 * 2 / 3
            self._keep(number, self._pair(number, START - life * DAY * share, life))

    def renew(self, now: datetime) -> list[int]:
        """Renew what is due; one of a hundred badly."""
        if CA_DOWN[0] <= now < CA_DOWN[1]:
            return []
        numbers = [n for n, at in self.due.items() if at <= now]
        for number in numbers:
            self.count += 1
            kind = BAD[self.count // 100 % len(BAD)] if self.count % 100 == 50 else ""
            self.issue(number, now, kind)
        return numbers

    def issue(self, number: int, now: datetime, bad: str = "") -> None:
        """Issue a certificate now; `bad`: its defect."""
        life = self._life(number, now)
        self.lifetimes[life] += 1
        self.by_day[now.replace(hour=0)] += 1
        if bad in ("other names", "weak key") and not self.bad[bad]:
            self.forgotten.add(number)
        self.bad.update([bad] if bad else [])
        self._keep(number, self._pair(number, now, life, bad))

    def _keep(self, number: int, pair: Pair) -> None:
        self.history[number] = [p for p in self.history[number] if p.ends > pair.begins - 60 * DAY] + [pair]
        self.due[number] = pair.chain.not_before + (pair.chain.not_after - pair.chain.not_before) * (2 / 3)

    def _life(self, number: int, now: datetime) -> int:
        if number % 5:
            return 47
        return 45 if now >= SHORTENED else 64

    def _pair(self, number: int, begins: datetime, life: int, bad: str = "") -> Pair:
        begins -= BACKDATED
        if bad == "expired":
            begins -= (life + 1) * DAY
        elif bad == "not valid yet":
            begins += 10 * DAY
        ends = begins + life * DAY
        old = begins < NEW_CHAIN or number in self.pinned
        middle = INTERMEDIATE_ENDS if old else START + 3000 * DAY
        names = ("other.example.com",) if bad == "other names" else (host(number),)
        key = "RSA-1024" if bad == "weak key" else "P-256"
        serial = f"{number}-{begins:%Y%m%d%H}-{bad}"
        leaf = _link(f"CN={names[0]}", "CN=Issuing CA", begins, ends, key, signed=bad != "broken chain")
        issuing = _link("CN=Issuing CA", "CN=Root", START - 2000 * DAY, middle, "P-256", signed=False)
        made = Chain(
            pem=serial, digest=serial, fingerprint=serial, spki=serial, names=names, sans=names, common_name=names[0],
            subject=leaf.subject, issuer=leaf.issuer, serial=serial, not_before=begins, not_after=ends, key=key,
            length=2, self_signed=False, links=(leaf, issuing), purpose=Purpose(public=True, fetchable=True),
        )  # fmt: skip
        good = bad in ("", "not valid yet")
        flaw = "The private key does not belong to the certificate." if bad == "another key" else ""
        return Pair(made, good, begins, min(ends, middle), flaw)


def _link(subject: str, issuer: str, begins: datetime, ends: datetime, key: str, *, signed: bool) -> ChainCertificate:
    return ChainCertificate(
        subject=subject, issuer=issuer, not_before=begins, not_after=ends, key=key, signature="SHA256",
        authority=subject == "CN=Issuing CA", signed_by_next=signed, fingerprint=subject,
    )  # fmt: skip


class Year:
    """The whole system; ``run`` lets a year pass."""

    def __init__(self, certificates: int, new_hosts: int = 5, free: int = 2) -> None:
        self.certificates, self.new, self.free = certificates, range(certificates, certificates + new_hosts), free
        self.issuer = Issuer(certificates)
        balancers = max(new_hosts + 1, -(-certificates // PER_LISTENER))
        self.world = view({"objects": [_ingress(n, balancers) for n in (*range(certificates), *self.new)]})
        self.later = {Name("shop", f"i{n}") for n in self.new}
        addresses = {f"lb-{n}": {"vip_address": f"10.0.{n // 250}.{n % 250}"} for n in range(balancers)}
        self.elb = LimitedElb(replace(observed({"loadbalancers": addresses}), limits=ListenerLimits()))
        self.options = TranslateOptions(cluster_name="simulated", default_loadbalancer=BALANCER.id)
        self.rules, self.tracker, self.memo = AlertRules(), RepeatTracker(DAY), Memo()
        self.writes = 0
        self.first_alert: dict[int, datetime] = {}
        self.alerts: Counter[str] = Counter()
        self.quota_alerts = 0
        self.waiting: Counter[int] = Counter()
        self.exposures: dict[int, Exposure] = {}
        self.ended: list[Exposure] = []
        self.pairs: dict[str, Pair] = {}
        self.last_rotation: datetime | None = None

    def run(self, step: timedelta = DAY) -> Report:
        """Let a year pass in steps of `step`."""
        begun = time.process_time()
        instants = sorted({*_every(step), *CA_DOWN, *CONTROLLER_DOWN, *QUOTA_FULL, INTERMEDIATE_ENDS})
        for now, following in pairwise(instants):
            self._tick(now)
            self._expose(now, following)
        self.ended += self.exposures.values()
        issuer = self.issuer
        return Report(
            self.certificates, issuer.count, issuer.bad, self.writes, max((n, d) for d, n in issuer.by_day.items())[::-1],
            self.ended, self.alerts, {n: m / 1440 for n, m in self.waiting.items()}, self.quota_alerts,
            issuer.lifetimes, time.process_time() - begun,
        )  # fmt: skip

    def _tick(self, now: datetime) -> None:
        if now >= QUOTA_FULL[0] and self.later:
            self.later = set()
            for number in self.new:
                self.issuer.issue(number, now)
        self.elb.quota = self.certificates + self.free if QUOTA_FULL[0] <= now < QUOTA_FULL[1] else 1_000_000
        self.issuer.renew(now)
        self._operate(now)
        seen = self._view()
        if not CONTROLLER_DOWN[0] <= now < CONTROLLER_DOWN[1]:
            self._control(seen, now)

    def _view(self) -> ClusterView:
        secrets = {}
        for number, pairs in self.issuer.history.items():
            pair, name = pairs[-1], Name("shop", f"s{number}")
            self.pairs[pair.chain.digest] = pair
            flaw = SecretProblem(reason="KeyMismatch", sentence=pair.flaw) if pair.flaw else None
            before = self.world.secrets.get(name)
            meta = replace(next(iter(self.world.ingresses.values())).meta, name=name.name, uid=f"uid-{name.name}")
            now = Secret(meta=meta, type="kubernetes.io/tls", chain=None if flaw else pair.chain, flaw=flaw)
            secrets[name] = before if before == now else now
        self.world = replace(self.world, secrets=secrets)
        ingresses = {n: i for n, i in self.world.ingresses.items() if n not in self.later}
        return replace(self.world, ingresses=ingresses)

    def _control(self, seen: ClusterView, now: datetime) -> None:
        """Reconcile, then evaluate the alerts, as the controller does."""
        failures: dict[str, str] = {}
        for _ in range(3):
            cluster = translate_cluster(seen, self.elb.state, self.options, now, memo=self.memo)
            decision = decide(cluster.translation, self.elb.state, CLUSTER, Modes())
            self.elb.ids = dict(decision.ids)
            self.elb.chains = {s.chain.digest: s.chain for s in seen.secrets.values() if s.chain}
            steps = [s for s in decision.steps if s.key not in failures]
            if not steps or not self._act(steps, failures, now):
                break
        diagnosis = with_host_states(cluster, now, self.rules.limits)
        inputs = AlertInput(
            watched=watched(diagnosis), problems=diagnosis.translation.problems, states=diagnosis.states,
            view=seen, failures=tuple((f"certificate {k}", v) for k, v in failures.items()),
            last_rotation=self.last_rotation,
        )  # fmt: skip
        self._notify(evaluate_alerts(inputs, self.rules, now), now)

    def _act(self, steps: Iterable[Step], failures: dict[str, str], now: datetime) -> bool:
        """Carry out `steps`; leave out those that need a rejected one. Return whether one was carried out."""
        worked = False
        for step in steps:
            if any(key in repr(step.fields) for key in failures):
                continue
            try:
                self.elb.apply(step)
            except QuotaFull as full:
                failures[step.key] = str(full)
                continue
            self.writes += 1
            worked = True
            if step.material:
                self.last_rotation = now
        return worked

    def _notify(self, alerts: tuple[Alert, ...], now: datetime) -> None:
        due = self.tracker.due(alerts, now)
        self.tracker.delivered(due, now)
        firing = [n.alert for n in due if n.status == "firing" and n.since == now]
        self.alerts.update(a.name for a in firing)
        self.quota_alerts += sum(a.name == "LoadBalancerRejected" for a in firing)
        concerned = {int(h[1:].partition(".")[0]) for a in alerts for h in a.hosts if h.startswith("h")}
        self.first_alert = {n: self.first_alert.get(n, now) for n in concerned}

    def _operate(self, now: datetime) -> None:
        """Renew certificates whose alert has stood for long enough; the issuer then uses the new intermediate."""
        if CA_DOWN[0] <= now < CA_DOWN[1]:
            return
        for number, since in self.first_alert.items():
            last = self.issuer.history[number][-1]
            patience = FORGOTTEN_FOR if number in self.issuer.forgotten else OPERATOR
            if now - since >= patience and (not last.good or last.ends < last.chain.not_after):
                self.issuer.pinned.discard(number)
                self.issuer.issue(number, now)

    def _expose(self, now: datetime, until: datetime) -> None:
        """Compare what each host serves until the next tick with the truth."""
        bound = self._bound()
        for number, pairs in self.issuer.history.items():
            pair = self.pairs.get(bound.get(number, ""))
            if pair is None:
                self.waiting[number] += int((until - now) / timedelta(minutes=1))
                continue
            begin = now if not pair.good else max(now, pair.ends)
            before = self.exposures.get(number)
            if begin >= until:
                if before:
                    self.ended.append(self.exposures.pop(number))
                continue
            minutes = (until - begin) / timedelta(minutes=1)
            valid = any(p.valid(begin) for p in pairs)
            if before and before.valid_pair == valid:
                self.exposures[number] = before._replace(minutes=before.minutes + minutes)
                continue
            if before:
                self.ended.append(before)
            self.exposures[number] = Exposure(number, begin, minutes, valid, self.first_alert.get(number))

    def _bound(self) -> dict[int, str]:
        """Return the content that is bound for each host."""
        certificates = self.elb.state.certificates
        listening = {
            ref
            for it in self.elb.state.listeners.values()
            for ref in (it.default_tls_container_ref, *(it.sni_container_refs or ()))
        }
        return {
            int(name[1:].partition(".")[0]): c.chain.digest
            for c in certificates.values()
            if c.id in listening and c.chain
            for name in c.domain
        }


def _ingress(number: int, balancers: int) -> dict[str, Any]:
    created = START - 400 * DAY + timedelta(seconds=number)
    return {
        "kind": "Ingress",
        "metadata": {
            "name": f"i{number}",
            "creationTimestamp": created.isoformat(),
            "annotations": {"kubernetes.io/elb.id": f"lb-{number % balancers}"},
        },
        "spec": {
            "ingressClassName": "cce",
            "tls": [{"hosts": [host(number)], "secretName": f"s{number}"}],
            "rules": [{"host": host(number)}],
        },
    }


def _every(step: timedelta) -> Iterator[datetime]:
    at = START
    while at <= START + YEAR * DAY:
        yield at
        at += step


def page(report: Report, step: timedelta) -> str:
    """Return docs/horizon.md for a report."""
    exceptions = [
        f"| {host(e.host)} | {e.begin:%Y-%m-%d %H:%M} | {e.minutes / 1440:.1f} "
        f"| {f'{(e.begin - e.alerted) / DAY:.1f} days before' if e.alerted else 'not at all'} |"
        for e in sorted(report.exposures, key=lambda e: e.begin)
    ]
    bad = ", ".join(f"{kind}: {count}" for kind, count in sorted(report.bad_renewals.items()))
    lives = ", ".join(f"{count:,} for {days} days" for days, count in sorted(report.lifetimes.items()))
    alerts = "\n".join(f"| {name} | {count} |" for name, count in sorted(report.alerts.items()))
    waits = len(report.waiting), max(report.waiting.values(), default=0.0)
    return "\n".join(
        [
            INTRODUCTION.format(count=report.certificates, hours=int(step / timedelta(hours=1))),
            "## Result",
            "",
            "| | |",
            "|---|---|",
            f"| minutes in which a host was served an expired or broken certificate although a valid one existed | {report.avoidable:.0f} |",
            f"| exceptions: no valid certificate existed | {len(exceptions)} |",
            f"| exceptions without an alert before | {len(report.not_alerted)} |",
            f"| renewals | {report.renewals:,} ({lives}) |",
            f"| bad renewals | {sum(report.bad_renewals.values())} ({bad}) |",
            f"| most renewals on one day | {report.busiest[1]}, on {report.busiest[0]:%Y-%m-%d} |",
            f"| writes to the ELB | {report.writes:,} |",
            f"| new hosts that waited for the quota | {waits[0]}, for {waits[1]:.0f} days; {report.quota_alerts} alerts |",
            f"| processor time | {report.seconds:.0f} s |",
            "",
            "## Exceptions",
            "",
            "The operator overlooked the alerts of these certificates, so that their hosts had no valid one.",
            "",
            "| host | expired at (UTC) | days | alerted |",
            "|---|---|---|---|",
            *exceptions,
            "",
            "## Alerts",
            "",
            "| alert | began |",
            "|---|---|",
            alerts,
            "",
        ]
    )


INTRODUCTION: Final = """\
# A year of renewals, simulated

`python -m bench horizon` runs the core and the alert rules through the year 2028 with a simulated clock, and writes
this page. The code is the controller's own, from the translation of Secrets to the plan and the alerts. Issuer,
operator and ELB are simulated, in memory and without Envoy.
[`certferry horizon`](certificates.md#look-ahead-to-the-next-renewals) projects the renewals of your own certificates.

{count:,} certificates, each with an Ingress and a Secret. The issuer renews at two thirds of the lifetime. Four of five
certificates live 47 days. The others live 64 days, and 45 days from 2028-02-16 on, as those of Let's Encrypt. The
controller reconciles every {hours} hours, although the real one reacts within milliseconds. In that year:

- The CA is down for 3 days from 2028-03-31 on, the controller for 24 hours on 2028-05-10.
- One renewal of a hundred is bad: the key of another certificate, other names, expired, not valid yet, a broken chain,
  a weak key.
- 5 new hosts come on 2028-06-29, and the quota of the ELB has room for two of them. It is raised two days later.
- The CA's intermediate expires on 2028-08-28. A part of the Secrets still gets the old chain.
- The operator acts two days after an alert. Two certificates with an old chain and two bad renewals are overlooked for
  a month.
"""


def main(arguments: list[str]) -> None:
    """Simulate a year of 1,000 certificates, and write docs/horizon.md."""
    certificates = int(arguments[0]) if arguments else 1000
    text = page(Year(certificates).run(DAY), DAY)
    (Path(__file__).parents[3] / "docs" / "horizon.md").write_text(text)
    sys.stdout.write(text)
