"""What a listener of a provider's stream cares about."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from providers.base import Progress, UsageReported


async def results(stream: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """The stream without signs of life and accounts; closed with it."""
    async with aclosing(stream) as events:
        async for event in events:
            if not isinstance(event, Progress | UsageReported):
                yield event
