"""The webhook: a POST whose signature proves who sent it, when, and that nobody changed it.

Switchboard-Delivery: the alert's id; the same for every attempt to deliver it
Switchboard-Timestamp: 1796000000
Switchboard-Signature: v1=HEX, the HMAC-SHA256 of `TIMESTAMP.BODY` under the shared secret
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from handoff.errors import StructuredError

URL_VARIABLE = "SWITCHBOARD_ALERT_URL"
SECRET_VARIABLE = "SWITCHBOARD_ALERT_SECRET"
SECRET_FILE_VARIABLE = "SWITCHBOARD_ALERT_SECRET_FILE"

FEWEST_SECRET_BYTES = 16
DELIVERY_SECONDS = 10.0


class WebhookSettingsError(StructuredError):
    """The variables that describe the webhook cannot be used."""

    code = "alert_settings"


class NotDeliveredError(Exception):
    """The webhook did not take it; the message is half a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where alerts go. Without a secret they go unsigned."""

    url: str
    secret: bytes | None = field(default=None, repr=False)

    async def post(self, body: bytes, *, delivery: str) -> None:
        """Deliver once. Raises: NotDeliveredError unless the answer is a 2xx within the time."""
        headers = {
            "content-type": "application/json",
            **signature_headers(self.secret, body, delivery, time.time()),
        }
        try:
            async with httpx2.AsyncClient(timeout=DELIVERY_SECONDS, follow_redirects=False) as client:
                answer = await client.post(self.url, content=body, headers=headers)
        except httpx2.TimeoutException as error:
            raise NotDeliveredError(f"it was not taken within {DELIVERY_SECONDS:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NotDeliveredError(f"the URL cannot be reached ({type(error).__name__})") from error
        if not answer.is_success:
            raise NotDeliveredError(f"the URL answered with HTTP status {answer.status_code}")


def signature_headers(secret: bytes | None, body: bytes, delivery: str, at: float) -> dict[str, str]:
    """What identifies a delivery, and with a secret, what proves it."""
    timestamp = str(int(at))
    headers = {"switchboard-delivery": delivery, "switchboard-timestamp": timestamp}
    if secret is not None:
        headers["switchboard-signature"] = f"v1={signature(secret, timestamp, body)}"
    return headers


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def webhook_from(environment: Mapping[str, str]) -> Webhook | None:
    """The webhook that the environment describes; None when it names no URL.

    Raises: WebhookSettingsError for a URL that is none, and for one without a usable secret.
    """
    url = environment.get(URL_VARIABLE)
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise WebhookSettingsError(f"{URL_VARIABLE} is not an http or https URL", field=URL_VARIABLE)
    secret = secret_from(environment)
    if secret is None:
        raise WebhookSettingsError(
            f"{URL_VARIABLE} is set, but no secret to sign alerts with",
            field=SECRET_VARIABLE,
            suggestion=f"set {SECRET_VARIABLE} or {SECRET_FILE_VARIABLE}; the receiver checks with it",
        )
    return Webhook(url, secret)


def secret_from(environment: Mapping[str, str]) -> bytes | None:
    """The secret to sign with, from its variable or its file. Raises: WebhookSettingsError."""
    said = environment.get(SECRET_VARIABLE, "").encode()
    if not said and (path := environment.get(SECRET_FILE_VARIABLE)):
        try:
            said = Path(path).read_bytes().strip()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise WebhookSettingsError(
                f"the file that {SECRET_FILE_VARIABLE} names cannot be read: {reason}",
                field=SECRET_FILE_VARIABLE,
            ) from error
    if said and len(said) < FEWEST_SECRET_BYTES:
        raise WebhookSettingsError(
            f"the secret for alerts is shorter than {FEWEST_SECRET_BYTES} bytes",
            field=SECRET_VARIABLE,
            suggestion="make one with: openssl rand -hex 32",
        )
    return said or None
