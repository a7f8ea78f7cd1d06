"""A Redis server as the house may use it: found by its address, never waited for without end, its failures typed.

redis-py's annotations leave open whether a command answers or is to be awaited; hence `Any` for its answers.
"""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)

from app.calls.store.errors import StoreFull, StoreMisconfigured, StoreUnavailable
from app.calls.store.redis_scripts import digest

_CONNECTIONS = 64
"""Who finds none free waits for one, within his deadline."""

Command = tuple[Any, ...]
Script = tuple[str, Sequence[str], Sequence[Any]]
"""A script, its keys and its arguments."""


class RedisConnection:
    """Runs scripts and commands, each within `deadline_s`. A server that turns out to be a replica by now is left: the
    next attempt asks anew where the address leads. `url`: `redis://`, `rediss://`, or, for a server that
    Sentinels watch over, `redis+sentinel://[user:password@]host:port,host:port/service[/database]` (`rediss+sentinel`
    for TLS; `?sentinel_password=` if they want one)."""

    def __init__(self, url: str, *, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._redis, self._sentinels = _client(url, deadline_s)

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._redis, *self._sentinels):
            await client.aclose(close_connection_pool=True)

    async def ask(self, *command: Any, waiting_s: float = 0.0) -> Any:
        """The answer to one command, which may itself wait for `waiting_s`. Errors as `ask_all`."""
        (answer,) = await self.ask_all([command], waiting_s=waiting_s)
        return answer

    async def ask_all(self, commands: Sequence[Command], waiting_s: float = 0.0) -> list[Any]:
        """The answers to these commands, in one round trip.

        Raises `StoreUnavailable`, `StoreFull` or `StoreMisconfigured`.
        """
        try:
            async with asyncio.timeout(self._deadline_s + waiting_s), self._free:
                return await self._answers(commands)
        except TimeoutError:
            raise StoreUnavailable(f"Redis did not answer within {self._deadline_s:g} s") from None
        except (RedisError, OSError) as error:
            raise _fault(error) from error

    async def _answers(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return _checked(await _execute(self._redis, commands))
        except RedisError as error:
            if _of_a_replica(error):  # those that others use meanwhile come to the same end
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            raise

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """What a script answers."""
        (answer,) = await self.run_all([(script, keys, arguments)])
        return answer

    async def run_all(self, scripts: Sequence[Script]) -> list[Any]:
        """What these scripts answer, in one round trip. Each must be harmless to repeat: Redis forgets scripts when it
        restarts, then they are loaded and all are run again."""
        commands = [("EVALSHA", digest(script), len(keys), *keys, *arguments) for script, keys, arguments in scripts]
        try:
            return await self.ask_all(commands)
        except StoreUnavailable as failure:
            if not isinstance(failure.__cause__, NoScriptError):
                raise
        await self.ask_all([("SCRIPT LOAD", script) for script in {script for script, _, _ in scripts}])
        return await self.ask_all(commands)


async def _execute(redis: "Redis", commands: Sequence[Command]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute(raise_on_error=False))


def _checked(answers: list[Any]) -> list[Any]:
    """Raises the first failure among the answers."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _of_a_replica(error: RedisError) -> bool:
    """Servers before 7 put what went wrong in a script into the text of another error."""
    return isinstance(error, ReadOnlyError | MasterDownError) or "READONLY" in str(error)


def _fault(error: Exception) -> Exception:
    match error:
        case MasterDownError():
            return StoreUnavailable(f"Redis: {error}")
        case AskError() | ClusterCrossSlotError() | ClusterDownError():
            return StoreMisconfigured(f"STORE_URL: Redis Cluster is not supported, name a single server: {error}")
        case AuthenticationError() | AuthorizationError() | NoPermissionError():
            return StoreMisconfigured(f"STORE_URL: Redis refuses us: {error}")
        case OutOfMemoryError():
            return StoreFull(f"Redis: {error}")
        case _:
            return StoreUnavailable(f"Redis: {error}")


def _client(url: str, deadline_s: float) -> tuple["Redis", list["Redis"]]:
    """A client of the server, and those of the Sentinels that know where it is. Raises `StoreMisconfigured`."""
    options: dict[str, Any] = {
        "socket_connect_timeout": deadline_s,
        "socket_timeout": None,  # some commands wait by design; every use has a deadline of its own
        "retry": Retry(NoBackoff(), 1),  # a connection that a restarted server has closed is replaced
        "max_connections": _CONNECTIONS,
    }
    try:
        if "+sentinel://" in url:
            return _watched(url, options)
        return Redis.from_url(url, **options), []
    except (ValueError, RedisError) as error:
        raise StoreMisconfigured(f"STORE_URL: {error}") from error


def _watched(url: str, options: dict[str, Any]) -> tuple["Redis", list["Redis"]]:
    """For whichever server the Sentinels call the master."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError("name the service, like redis+sentinel://host:26379/mymaster")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    of_sentinels: dict[str, Any] = {"password": query["sentinel_password"]} if "sentinel_password" in query else {}
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.rpartition(":")
        sentinels.append((name or host, int(port) if name else 26379))
    options |= {
        "ssl": parts.scheme.startswith("rediss"),
        "db": int(database or 0),
        "username": unquote(user) or None,
        "password": unquote(password) or None,
    }
    briefly = options["socket_connect_timeout"] / 4  # one that is gone must not use up the time for the others
    of_sentinels |= {"socket_connect_timeout": briefly, "socket_timeout": briefly, "retry": Retry(NoBackoff(), 0)}
    watch: Any = Sentinel(sentinels, sentinel_kwargs=of_sentinels, **options)  # type: ignore[no-untyped-call]
    return watch.master_for(service), watch.sentinels
