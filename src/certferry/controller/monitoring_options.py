"""Options of probes, rollback and alerts, from the settings."""

from __future__ import annotations

import msgspec

from certferry.core.diagnosis.alert_rules import AlertRules


class MonitoringOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    rules: AlertRules = AlertRules()
    rollback_within: float = 10.0
    """Seconds within which a certificate that clients cannot use is rolled back; 0: never."""
    probe_interval: float = 60.0
    """How often each address and name is looked at while nothing changes; 0: never."""
    own_endpoints: tuple[tuple[str, str], ...] = ()
    """(what it is, host:port) of certificates of this system itself."""
