"""One signed post of alerts to a URL, with a time limit and without a retry."""

from __future__ import annotations

import ssl
import stat
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp

from certferry import __version__
from certferry.alerts.formats import FORMATS
from certferry.alerts.repeat_tracker import AlertNotification
from certferry.alerts.signature import headers
from certferry.settings import AlertSettings, UserError

TIMEOUT: Final = 10.0
"""Seconds."""


class WebhookError(Exception):
    """The receiver did not accept the post; the text says why."""


class Webhook:
    """The receiver of alerts. Raises UserError if the settings cannot work."""

    def __init__(self, settings: AlertSettings) -> None:
        if not settings.webhook.startswith(("http://", "https://")):
            raise UserError(f"alerts.webhook is not an http or https URL: “{settings.webhook}”.")
        self.url = settings.webhook
        self._format = FORMATS[settings.webhook_format]
        self._docs = settings.runbook_url
        self._repeat = timedelta(seconds=settings.repeat_interval)
        self._key = _key(settings.webhook_secret_file) if settings.webhook_secret_file else None
        self._tls = _trust(settings.webhook_ca) if settings.webhook_ca else True

    async def post(self, notifications: Sequence[AlertNotification]) -> None:
        """Deliver `notifications` in one post. Raises WebhookError, also for a status of 300 and above."""
        body = self._format(notifications, self._docs, datetime.now(UTC), self._repeat)
        head = {"Content-Type": "application/json", "User-Agent": f"certferry/{__version__}"}
        if self._key:
            head |= headers(self._key, body, int(time.time()))
        limit = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.post(self.url, data=body, headers=head, ssl=self._tls, allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    raise WebhookError(f"{self.url} answered {response.status}")
        except TimeoutError:
            raise WebhookError(f"{self.url} did not answer within {TIMEOUT:g} s") from None
        except aiohttp.ClientError as error:
            raise WebhookError(f"{self.url} cannot be reached: {error}") from None


def _key(file: Path) -> bytes:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise UserError(f"Other users can read {file}, the key that signs alerts. Run: chmod 600 {file}")
        key = file.read_bytes().strip()
    except OSError as error:
        raise UserError(f"Cannot read the key that signs alerts ({file}): {error.strerror}.") from None
    if len(key) < 16:
        raise UserError(f"The key that signs alerts ({file}) is shorter than 16 characters.")
    return key


def _trust(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UserError(f"Cannot read the CA certificate in {ca}: {error.strerror or 'not PEM'}.") from None
