"""All metrics of the controller. Names follow Prometheus: seconds, and ``_total`` for counters."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_FAST = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The controller's metrics in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.rotation = Histogram(
            "certferry_rotation_seconds",
            "From the receipt of a changed certificate to each later instant",
            ["instant"],
            buckets=_FAST,
            registry=self._registry,
        )
        self.write_delay = Histogram(
            "certferry_rotation_write_delay_seconds",
            "From the receipt of a changed Secret until its write to the ELB is sent",
            buckets=_FAST,
            registry=self._registry,
        )
        self.rotations = Counter(
            "certferry_rotations_total",
            "Finished rotations by result: served, wrong, unreachable",
            ["result"],
            registry=self._registry,
        )
        self.elb_writes = Counter(
            "certferry_elb_writes_total", "Writes sent to the ELB", ["verb", "kind"], registry=self._registry
        )
        self.elb_errors = Counter(
            "certferry_elb_errors_total", "ELB requests that failed", ["code"], registry=self._registry
        )
        self.reconcile_duration = Histogram(
            "certferry_reconcile_seconds", "One full reconcile", buckets=_FAST, registry=self._registry
        )
        self.steps = Counter(
            "certferry_steps_total", "Planned steps by result", ["kind", "result"], registry=self._registry
        )
        self.planned_steps = Gauge(
            "certferry_planned_steps",
            "Steps of the newest plan; they remain if the controller only observes",
            ["kind", "verb"],
            registry=self._registry,
        )
        self.leader = Gauge("certferry_leader", "1 if this replica is the leader", registry=self._registry)
        self.rotation_instant = Gauge(
            "certferry_rotation_instant_seconds",
            "Newest rotation reported on an Ingress: changed, accepted, served, as seconds since 1970 (0: not)",
            ["namespace", "ingress", "instant"],
            registry=self._registry,
        )
        self.drift = Gauge(
            "certferry_drift",
            "Present changes by other clients on the load balancer, by kind and by how they are handled",
            ["kind", "mode"],
            registry=self._registry,
        )
        self.problems = Gauge(
            "certferry_problems",
            "Present problems by reason, each on the object that has to change",
            ["reason"],
            registry=self._registry,
        )
        self.objects_skipped = Counter(
            "certferry_objects_skipped_total",
            "Objects that were skipped because they cannot be processed",
            ["kind"],
            registry=self._registry,
        )
        self.part_restarts = Counter(
            "certferry_part_restarts_total",
            "Unexpected errors that ended a part of the controller, which was started again",
            ["part"],
            registry=self._registry,
        )
        self.hosts = Gauge(
            "certferry_hosts",
            "Hosts by what clients get: served, expiring, compromised, expired, wrong, unusable, missing, unreachable, "
            "unknown",
            ["status"],
            registry=self._registry,
        )
        self.host_seconds = Counter(
            "certferry_host_seconds_total",
            "Seconds of each host that an object wants, added up: the base of certferry_host_wrong_seconds_total",
            registry=self._registry,
        )
        self.host_wrong_seconds = Counter(
            "certferry_host_wrong_seconds_total",
            "Host seconds in which clients were harmed: nothing, wrong or expired certificate, unreachable",
            ["reason"],
            registry=self._registry,
        )
        self.connected = Gauge(
            "certferry_connected", "1 if the remote answers: kubernetes, elb", ["remote"], registry=self._registry
        )
        self.remaining_lifetime = Gauge(
            "certferry_certificate_remaining_lifetime_ratio",
            "Remaining share of a certificate's lifetime; role: served, chosen, stored, own",
            ["certificate_id", "name", "role"],
            registry=self._registry,
        )
        self.certificate_expires = Gauge(
            "certferry_certificate_expires_timestamp_seconds",
            "End of validity of every certificate, as seconds since 1970",
            ["certificate_id", "name", "role"],
            registry=self._registry,
        )
        self.certificates = Gauge(
            "certferry_certificates",
            "Certificates by role and by urgency of renewal: good, late, urgent, critical, expired",
            ["role", "state"],
            registry=self._registry,
        )
        self.renewals_late = Gauge(
            "certferry_renewals_late", "Certificates in use whose renewal is late", registry=self._registry
        )
        self.last_rotation = Gauge(
            "certferry_last_rotation_timestamp_seconds",
            "When a new certificate was last served to a client, as seconds since 1970; 0: not since the start",
            registry=self._registry,
        )
        self.rollbacks = Counter(
            "certferry_rollbacks_total",
            "Rollbacks of certificates that clients could not use: done, impossible, failed",
            ["result"],
            registry=self._registry,
        )
        self.quarantined = Gauge(
            "certferry_certificates_quarantined",
            "Contents that are quarantined after a rollback",
            registry=self._registry,
        )
        self.not_served = Gauge(
            "certferry_endpoints_not_served",
            "Addresses and names that do not serve the expected certificate: wrong, unreachable",
            ["reason"],
            registry=self._registry,
        )
        self.alert = Gauge(
            "certferry_alert",
            "1 for each firing alert",
            ["alert", "urgency", "cluster", "subject", "hosts", "owner", "source", "command"],
            registry=self._registry,
        )
        self.alert_deliveries = Counter(
            "certferry_alert_deliveries_total",
            "Posts of alerts to the webhook: delivered, failed",
            ["result"],
            registry=self._registry,
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)
