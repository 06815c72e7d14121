"""``certferry alerts``: a test of the delivery, and the rules from the settings."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from certferry.cli.lazy import TYPER
from certferry.cli.options import Config
from certferry.settings import AlertSettings, UserError, read

if TYPE_CHECKING:
    from certferry.core.diagnosis.alert_rules import AlertRules

app = typer.Typer(help="Test the delivery of alerts.", no_args_is_help=True, **TYPER)


@app.command("test")
def send_test(config: Config = None) -> None:
    """Post a test alert to the webhook of the settings, and report the answer."""
    from certferry.alerts.repeat_tracker import AlertNotification
    from certferry.alerts.webhook import Webhook, WebhookError
    from certferry.core.diagnosis.alert import Alert

    settings = read(AlertSettings, "alerts", {}, os.environ, config)
    if not settings.webhook:
        raise UserError("No webhook is set: write alerts.webhook into the settings file (docs/alerts.md).")
    webhook, now = Webhook(settings), datetime.now(UTC)
    alert = Alert(
        name="Test",
        subject="certferry alerts test",
        summary="This is a test: alerts of Certferry arrive here.",
        hosts=("shop.example.com",),
        owner="none",
        source="certferry alerts test",
        why="a user ran this command",
        command="certferry alerts test",
    )
    try:
        for status in ("firing", "resolved"):
            notification = AlertNotification(
                status="firing" if status == "firing" else "resolved", alert=alert, since=now
            )
            asyncio.run(webhook.post([notification]))
    except WebhookError as error:
        raise UserError(f"The webhook rejected the test alert: {error}.", 1) from None
    signed = "signed" if settings.webhook_secret_file else "not signed: set alerts.webhook_secret_file"
    typer.echo(f"{webhook.url} accepted the test alert and its end ({settings.webhook_format} form, {signed}).")


def rules(settings: AlertSettings) -> AlertRules:
    """Return the rules of alerts from the settings."""
    from certferry.clusters.settings_file import expiry_limits
    from certferry.core.diagnosis.alert_rules import AlertRules

    return AlertRules(
        limits=expiry_limits(settings),
        stalled_rotations=settings.stalled_rotations,
        stalled_after=settings.stalled_after,
    )
