"""Workers tell each other's metrics."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from app.siblings import Siblings, merged
from app.telemetry.metrics import Metrics


def told(calls: int) -> bytes:
    metrics = Metrics()
    metrics.live_calls.set(calls)
    metrics.count("calls_refused", reason="busy")
    metrics.loop_lag.observe(0.5)
    return metrics.exposition()


def test_each_sample_says_whose_it_is_and_each_family_is_described_once() -> None:
    text = merged({"11": told(3), "12": told(4)}).decode()
    assert 'sidetone_live_calls{process="11"} 3.0' in text
    assert 'sidetone_live_calls{process="12"} 4.0' in text
    assert 'sidetone_calls_refused_total{process="12",reason="busy"} 1.0' in text
    assert 'sidetone_loop_lag_seconds_sum{process="11"} 0.5' in text
    assert text.count("# TYPE sidetone_live_calls gauge") == 1
    assert text.count("# TYPE sidetone_calls_refused_total counter") == 1


def test_whoever_is_asked_tells_of_all_that_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> bytes:
        monkeypatch.setattr(os, "getpid", lambda: 11)
        first = Siblings(tmp_path, lambda: told(3))
        monkeypatch.setattr(os, "getpid", lambda: 12)
        second = Siblings(tmp_path, lambda: told(4))
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(tmp_path / "13"))
        async with first, second:
            return await first.exposition()

    text = asyncio.run(scene()).decode()
    assert 'sidetone_live_calls{process="11"} 3.0' in text
    assert 'sidetone_live_calls{process="12"} 4.0' in text
    assert 'process="13"' not in text.replace("sidetone", "")
    assert not list(tmp_path.iterdir())


def test_a_process_without_siblings_tells_of_itself_as_ever() -> None:
    async def scene() -> bytes:
        async with Siblings(None, lambda: b"as ever") as alone:
            return await alone.exposition()

    assert asyncio.run(scene()) == b"as ever"
