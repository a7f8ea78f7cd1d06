"""What can happen to a server: it is restarted empty, hangs, is full, wants a password, moves; behind TLS or not."""

import asyncio
import datetime
import ipaddress
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.exceptions import ResponseError

from app.calls.store.base import Batch
from app.calls.store.errors import Forgotten, StoreFull, StoreMisconfigured, StoreUnavailable
from app.calls.store.redis import RedisStore
from app.calls.store.redis_connection import _of_a_replica
from telephony.clock import MonotonicClock
from tests.redis_server import RedisServer, free_port, until

CLOCK = MonotonicClock()


def test_a_server_that_was_restarted_empty_has_forgotten_and_takes_everything_again(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            async with RedisStore(server.url, CLOCK) as store:
                lease = await store.acquire("CA1", "us", 60.0)
                await store.append([Batch("CA1", lease.fence, 0, (b"one", b"two"), b"card")])
                server.stop()
                with pytest.raises(StoreUnavailable):
                    await store.append([Batch("CA1", lease.fence, 2, (b"three",))])
                server.start()
                (refused,) = await store.append([Batch("CA1", lease.fence, 2, (b"three",))])
                assert isinstance(refused, Forgotten)
                (lost,) = await store.renew([lease], 60.0)
                assert isinstance(lost, Forgotten)
                again = await store.acquire("CA1", "us", 60.0, above=lease.fence)
                assert again.fence == lease.fence + 1
                await store.append([Batch("CA1", again.fence, 0, (b"one", b"two", b"three"), b"card")])
                assert await store.read("CA1") == (b"one", b"two", b"three")

    asyncio.run(scene())


def test_a_server_that_was_restarted_with_an_old_file_is_told_what_it_missed(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            async with RedisStore(server.url, CLOCK) as store:
                lease = await store.acquire("CA1", "them", 60.0)
                await store.append([Batch("CA1", lease.fence, 0, (b"one", b"passing"), b"card")])
                await store._redis.ask("SAVE")
                lease = await store.acquire("CA1", "us", 60.0, over=lease.fence)
                await store.append([Batch("CA1", lease.fence, 2, (b"two", b"three"))])
                server.stop()
                server.start()
                (refused,) = await store.append([Batch("CA1", lease.fence, 4, (b"four",))])
                assert isinstance(refused, Forgotten)
                again = await store.acquire("CA1", "us", 60.0, above=lease.fence)
                entries = (b"one", b"two", b"three", b"four")
                for _ in range(2):
                    assert await store.append([Batch("CA1", again.fence, 0, entries, b"card", anew=True)]) == ()
                assert await store.append([Batch("CA1", again.fence, 4, (b"five",))]) == ()
                # the first attempt, over a connection that was given up, and is heard after all
                assert await store.append([Batch("CA1", again.fence, 0, entries, b"card", anew=True)]) == ()
                assert await store.read("CA1") == (*entries, b"five")

    asyncio.run(scene())


def test_who_keeps_calling_has_no_more_calls_in_his_list_than_are_kept(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            async with RedisStore(server.url, CLOCK, keep_s=60.0) as store:
                index = store._key("caller", "anna")
                long_ago = int(CLOCK.today().timestamp() * 1000) - 2 * 3_600_000
                await store._redis.ask("ZADD", index, *(x for n in range(500) for x in (long_ago + n, f"old {n}")))
                for call_id in ("CA1", "CA2"):
                    lease = await store.acquire(call_id, "us", 60.0)
                    await store.append([Batch(call_id, lease.fence, 0, (b"one",), b"card", caller_key="anna")])
                    await store.append([Batch(call_id, lease.fence, 1, (), b"card", caller_key="anna", ended=True)])
                assert sorted(await store._redis.ask("ZRANGE", index, 0, -1)) == [b"CA1", b"CA2"]
                assert len(await store.calls(caller_key="anna")) == 2

    asyncio.run(scene())


def test_a_sweep_of_many_calls_takes_several_rounds_and_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            async with RedisStore(server.url, CLOCK) as store:
                lease = await store.acquire("CA1", "us", 60.0)
                await store.append([Batch("CA1", lease.fence, 0, (b"one",), b"card")])
                index = store._key("calls")
                await store._redis.ask("ZADD", index, *(x for n in range(1200) for x in (n, f"expired {n}")))
                assert [await store.sweep() for _ in range(4)] == [True, True, False, False]
                assert await store._redis.ask("ZRANGE", index, 0, -1) == [b"CA1"]

    asyncio.run(scene())


def test_hundreds_who_ask_at_once_wait_for_a_connection(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            async with RedisStore(server.url, CLOCK, deadline_s=20.0) as store, asyncio.TaskGroup() as group:
                collecting = group.create_task(store.collect("us", 60.0))
                asked = [group.create_task(store.acquire(f"CA{number}", "us", 60.0)) for number in range(300)]
                assert [(await lease).fence for lease in asked] == [1] * 300
                collecting.cancel()

    asyncio.run(scene())


def test_a_server_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as server:
            async with RedisStore(server.url, CLOCK, deadline_s=0.2) as store:
                await store.check()
                server.pause()
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match=r"within 0\.2 s"):
                        await store.acquire("CA1", "us", 60.0)

    asyncio.run(scene())


def test_a_server_that_is_not_there_does_not_keep_a_process_from_starting(tmp_path: Path) -> None:
    async def scene() -> None:
        server = RedisServer(tmp_path)
        async with RedisStore(server.url, CLOCK) as store:
            with pytest.raises(StoreUnavailable):
                await store.check()
            with server:
                await store.check()

    asyncio.run(scene())


def test_a_full_server_is_told_apart(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
            async with RedisStore(server.url, CLOCK) as store:
                lease = await store.acquire("CA1", "us", 60.0)
                stored: list[int] = []

                async def fill() -> None:
                    for number in range(100):
                        await store.append([Batch("CA1", lease.fence, number, (bytes(65536),))])
                        stored.append(number)

                with pytest.raises(StoreFull):
                    await fill()
                assert len(await store.read("CA1")) == len(stored)

    asyncio.run(scene())


def test_a_wrong_password_is_our_users_fault_and_the_right_one_is_taken_from_the_address(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path, "--requirepass", "s3cret") as server:
            for credentials in ("", ":wrong@"):
                url = server.url.replace("//", f"//{credentials}")
                async with RedisStore(url, CLOCK) as store:
                    with pytest.raises(StoreMisconfigured, match="STORE_URL") as refusal:
                        await store.check()
                    assert "wrong@" not in str(refusal.value)
            async with RedisStore(server.url.replace("//", "//:s3cret@"), CLOCK) as store:
                await store.check()

    asyncio.run(scene())


def test_a_server_behind_tls_is_believed_with_its_certificate_only(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    port = free_port()
    options = ("--port", "0", "--tls-port", str(port), "--tls-cert-file", str(certificate))
    options += ("--tls-key-file", str(key), "--tls-auth-clients", "no")

    async def scene() -> None:
        with RedisServer(tmp_path, *options, port=port):
            async with RedisStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", CLOCK) as store:
                await store.check()
            async with RedisStore(f"rediss://127.0.0.1:{port}/0", CLOCK) as store:
                with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
                    await store.check()

    asyncio.run(scene())


@contextmanager
def sentinel(folder: Path, server: RedisServer) -> Iterator[int]:
    """A Sentinel that watches over the server by the name of calls; its port."""
    watched = f"sentinel monitor calls 127.0.0.1 {server.port} 1\nsentinel auth-pass calls s3cret\n"
    (folder / "sentinel.conf").write_text(watched)
    port = free_port()
    command = ["redis-server", folder / "sentinel.conf", "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def test_sentinels_are_asked_where_the_server_is_and_one_may_be_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path, "--requirepass", "s3cret") as server, sentinel(tmp_path, server) as port:
            url = f"redis+sentinel://:s3cret@127.0.0.1:{free_port()},127.0.0.1:{port}/calls/0"
            async with RedisStore(url, CLOCK) as store:

                async def found() -> bool:
                    try:
                        await store.check()
                    except StoreUnavailable:
                        return False
                    return True

                await until(found)
                assert (await store.acquire("CA1", "us", 60.0)).fence == 1
            async with RedisStore(server.url.replace("//", "//:s3cret@"), CLOCK) as direct:
                assert await direct.holder("CA1") is not None

    asyncio.run(scene())


class Address:
    """One that leads to one server, and to another when it is told to; what is connected stays connected."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.url = ""

    async def __aenter__(self) -> "Address":
        self._listening = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listening.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_them = await asyncio.open_connection("127.0.0.1", self.server.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(reader, to_them))
            group.create_task(_pass_on(theirs, writer))


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while received := await source.read(65536):
            sink.write(received)
            await sink.drain()
    except OSError:
        pass
    sink.close()


def test_a_server_that_was_demoted_is_left_for_the_one_that_the_address_leads_to(tmp_path: Path) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path) as old, RedisServer(tmp_path) as new:
            async with Address(old) as address, RedisStore(address.url, CLOCK, deadline_s=5.0) as store:
                async with asyncio.TaskGroup() as group:  # over several connections
                    for number in range(8):
                        group.create_task(store.acquire(f"CA{number}", "us", 60.0))
                address.server = new
                async with RedisStore(old.url, CLOCK) as direct:
                    await direct._redis.ask("REPLICAOF", "127.0.0.1", new.port)
                with pytest.raises(StoreUnavailable, match=r"READONLY|read only"):
                    await store.acquire("CA9", "us", 60.0)
                async with asyncio.TaskGroup() as group:
                    for number in range(8):
                        group.create_task(store.acquire(f"CA{number}", "us", 60.0, above=7))
                async with RedisStore(new.url, CLOCK) as direct:
                    held = await direct.holder("CA7")
                assert held is not None and held.lease.fence == 8

    asyncio.run(scene())


def test_a_script_that_an_older_replica_refuses_counts_as_well() -> None:
    error = ResponseError("Error running script (call to f_1): @user_script:5: READONLY You can't write against a read")
    assert _of_a_replica(error)
    assert not _of_a_replica(ResponseError("unknown command"))


@pytest.mark.parametrize("slots", [(), ("ADDSLOTSRANGE", 0, 16383)])
def test_a_cluster_is_refused_with_the_settings_name(tmp_path: Path, slots: tuple[object, ...]) -> None:
    async def scene() -> None:
        with RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
            async with RedisStore(server.url, CLOCK) as store:
                if slots:
                    await store._redis.ask("CLUSTER", *slots)

                async def refused() -> bool:
                    try:
                        await store.check()
                    except StoreMisconfigured as error:
                        return "STORE_URL: Redis Cluster" in str(error) and ("Keys" in str(error)) is bool(slots)
                    return False

                await until(refused)
                with pytest.raises(StoreMisconfigured, match="STORE_URL"):
                    await store.acquire("CA1", "us", 60.0)

    asyncio.run(scene())


@pytest.mark.parametrize("url", ["redis+sentinel://127.0.0.1:26379", "redis+sentinel:///calls", "redis://host:port/0"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StoreMisconfigured, match="STORE_URL"):
        RedisStore(url, CLOCK)


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "tls.crt", folder / "tls.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
