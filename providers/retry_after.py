"""How long a vendor wants to be left alone, from the headers of its refusal (RFC 9110, section 10.2.3)."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str], today: datetime) -> float | None:
    """How long the vendor wants to be left alone: `retry-after-ms`, or `retry-after` in seconds or as a date."""
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = _number(milliseconds) / 1000 if milliseconds else _number(text or "")
    if not math.isfinite(seconds) and text:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - today).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
