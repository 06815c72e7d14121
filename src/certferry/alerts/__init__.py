"""Telling people: alerts go out as signed JSON, or as Alertmanager takes them.

The controller publishes what stands (``core.alert``); this package delivers it, until it was taken.
It knows no certificate and no load balancer.
"""

from certferry.alerts.sender import run
from certferry.alerts.webhook import Webhook, WebhookError

__all__ = ["Webhook", "WebhookError", "run"]
