"""Secrets of this service, recognised wherever somebody has put them by mistake: they are cut out of logs and
error messages."""

import re

# A key keeps its prefix, which names its row and is no secret. Whoever percent-encodes a webhook's secret for
# a URL changes `+`, `/` and `=` only.
_KEY = re.compile(r"(hd_[0-9a-f]{10})_[A-Za-z0-9_-]{20,}")
_WEBHOOK = re.compile(r"whsec_[A-Za-z0-9+/%]{20,}={0,2}")


def redacted(text: str) -> str:
    """The text without API keys (`store.keys`) and secrets of webhooks (`store.webhooks`)."""
    return _WEBHOOK.sub("whsec_[redacted]", _KEY.sub(r"\1_[redacted]", text))
