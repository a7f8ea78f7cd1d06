"""The recogniser as the bridge uses it: real worker processes, real speech."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from providers.base import (
    FinalTranscript,
    Grammar,
    PartialTranscript,
    ProviderContext,
    Recognition,
    RecognitionEvent,
    RecognitionGap,
)
from providers.errors import ProviderMisconfigured, ProviderRateLimited, ProviderUnavailable
from providers.stt.pocketsphinx import PocketSphinx, create, host, provider
from telephony.audio import FRAME_BYTES, MULAW_SILENCE, TELEPHONE, AudioFormat, Encoding
from telephony.clock import MonotonicClock

SILENCE = bytes([MULAW_SILENCE])
T = TypeVar("T")


def run(conversation: Callable[[PocketSphinx], Awaitable[T]], grammar: Grammar, workers: int = 1) -> T:
    """One recogniser's life."""

    async def life() -> T:
        async with asyncio.timeout(60), PocketSphinx(grammar, MonotonicClock(), workers) as stt:
            return await conversation(stt)

    return asyncio.run(life())


async def say(recognition: Recognition, audio: bytes) -> None:
    """Audio as it comes from a leg, frame by frame, faster than real time."""
    for at in range(0, len(audio), FRAME_BYTES):
        recognition.send(audio[at : at + FRAME_BYTES])
        await asyncio.sleep(0)


async def turn(recognition: Recognition, events: AsyncIterator[RecognitionEvent]) -> list[RecognitionEvent]:
    """Finalize; everything up to the answer."""
    recognition.finalize()
    seen = []
    async for event in events:
        seen.append(event)
        if isinstance(event, FinalTranscript) and event.finalized:
            break
    return seen


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_turns_of_a_call_are_understood_one_after_the_other(desk: Grammar, speech: Callable[[str], bytes]) -> None:
    async def conversation(stt: PocketSphinx) -> None:
        async with stt.open(TELEPHONE) as recognition:
            events = aiter(recognition)
            for text in ("hello how are you today", "what's the weather like", "can you tell me the time"):
                await say(recognition, SILENCE * 2400 + speech(text))
                *partials, final = await turn(recognition, events)
                assert isinstance(final, FinalTranscript)
                assert (final.text, final.finalized) == (text, True)
                assert final.confidence is not None
                assert final.confidence > 0.9
                assert all(isinstance(partial, PartialTranscript) for partial in partials)

    run(conversation, desk)


def test_a_turn_in_which_nothing_was_said_is_answered_empty(desk: Grammar) -> None:
    async def conversation(stt: PocketSphinx) -> list[RecognitionEvent]:
        async with stt.open(TELEPHONE) as recognition:
            await say(recognition, SILENCE * 8000)
            return await turn(recognition, aiter(recognition))

    assert run(conversation, desk) == [FinalTranscript("", None, finalized=True)]


def test_calls_of_one_worker_do_not_hear_each_other(desk: Grammar, speech: Callable[[str], bytes]) -> None:
    texts = ["what are your opening hours", "goodbye", "next wednesday", "are you a robot"]

    async def caller(stt: PocketSphinx, text: str) -> str:
        async with stt.open(TELEPHONE) as recognition:
            await say(recognition, SILENCE * 2400 + speech(text))
            *_, final = await turn(recognition, aiter(recognition))
            assert isinstance(final, FinalTranscript)
            return final.text

    async def conversation(stt: PocketSphinx) -> list[str]:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(caller(stt, text)) for text in texts]
        return [call.result() for call in calls]

    assert run(conversation, desk) == texts


def test_calls_are_spread_over_the_workers(desk: Grammar) -> None:
    async def conversation(stt: PocketSphinx) -> list[int]:
        async with stt.open(TELEPHONE), stt.open(TELEPHONE), stt.open(TELEPHONE):
            return sorted(host.load[1] for host in stt._hosts)

    assert run(conversation, desk, workers=2) == [1, 2]


def test_a_worker_takes_no_more_calls_than_it_can_serve(desk: Grammar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST_CALLS", 2)

    async def conversation(stt: PocketSphinx) -> None:
        async with stt.open(TELEPHONE), stt.open(TELEPHONE):
            with pytest.raises(ProviderRateLimited, match="POCKETSPHINX_WORKERS"):
                await stt.open(TELEPHONE).__aenter__()
        async with stt.open(TELEPHONE):
            pass

    run(conversation, desk)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_call_goes_on_when_its_worker_dies(
    end: signal.Signals, desk: Grammar, speech: Callable[[str], bytes]
) -> None:
    async def conversation(stt: PocketSphinx) -> None:
        async with stt.open(TELEPHONE) as recognition:
            events = aiter(recognition)
            await say(recognition, SILENCE * 2400 + speech("what are your opening hours"))
            assert isinstance(await anext(events), PartialTranscript)
            first = stt._hosts[0].process_id
            os.kill(first, end)
            while not isinstance(event := await anext(events), RecognitionGap):
                assert isinstance(event, PartialTranscript)
            assert event.lost_ms > 0
            assert not exists(first)
            await say(recognition, SILENCE * 2400 + speech("goodbye"))
            assert await stt._hosts[0].settled() is None  # until then turns are answered at once, and empty
            *_, final = await turn(recognition, events)
            assert isinstance(final, FinalTranscript)
            assert final.text == "goodbye"
            assert stt._hosts[0].process_id != first

    run(conversation, desk)


def test_a_turn_is_answered_even_if_the_worker_dies_over_it(desk: Grammar, speech: Callable[[str], bytes]) -> None:
    async def conversation(stt: PocketSphinx) -> list[RecognitionEvent]:
        async with stt.open(TELEPHONE) as recognition:
            await say(recognition, SILENCE * 2400 + speech("goodbye"))
            os.kill(stt._hosts[0].process_id, signal.SIGSTOP)  # it hangs: only the watch can tell
            return await turn(recognition, aiter(recognition))

    gap, final = run(conversation, desk)
    assert isinstance(gap, RecognitionGap)
    assert "no answer within 2 s" in gap.reason
    assert final == FinalTranscript("", finalized=True)


def test_a_worker_that_cannot_be_started_again_ends_its_calls(desk: Grammar, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(stt: PocketSphinx) -> None:
        async with stt.open(TELEPHONE) as recognition:
            monkeypatch.setattr(sys, "executable", "/bin/false")
            os.kill(stt._hosts[0].process_id, signal.SIGKILL)
            with pytest.raises(ProviderUnavailable, match="does not start"):
                await anext(event for event in [event async for event in recognition])  # type: ignore[call-overload]
        with pytest.raises(ProviderUnavailable):
            await stt.open(TELEPHONE).__aenter__()

    run(conversation, desk)


def test_nothing_is_left_behind(desk: Grammar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(stt: PocketSphinx) -> list[int]:
        return [host.process_id for host in stt._hosts]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pids = run(conversation, desk, workers=2)
    assert len(pids) == 2
    assert not any(map(exists, pids))
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_is_still_read_ends_when_the_provider_does(desk: Grammar) -> None:
    async def conversation() -> list[RecognitionEvent]:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            stt = PocketSphinx(desk, MonotonicClock())
            async with stt:
                opened = stt.open(TELEPHONE)
                recognition = await opened.__aenter__()

                async def read() -> list[RecognitionEvent]:
                    return [event async for event in recognition]

                reading = tasks.create_task(read())
            await opened.__aexit__(None, None, None)
        return reading.result()

    assert asyncio.run(conversation()) == []


def test_a_worker_ends_when_the_bridge_is_gone(desk: Grammar, tmp_path: Path) -> None:
    async def orphan() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "providers.stt.pocketsphinx.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(host.wire.packed(host.wire.Configure(desk.jsgf, desk.sentences, str(tmp_path))))
        await process.stdout.readexactly(4)
        process.send_signal(signal.SIGINT)  # a terminal sends it to all: the bridge decides, not the worker
        process.stdin.close()
        return await process.wait()

    assert asyncio.run(orphan()) == 0


def test_a_format_that_was_not_offered_is_refused(desk: Grammar) -> None:
    stt = PocketSphinx(desk, MonotonicClock())
    assert stt.formats() == (TELEPHONE,)
    with pytest.raises(ValueError, match="pocketsphinx takes"):
        stt.open(AudioFormat(Encoding.PCM16, 16000))


@pytest.mark.parametrize(
    ("jsgf", "sentences", "remedy"),
    [
        ("#JSGF V1.0;\ngrammar g;\npublic <turn> = sidetone;\n", ("sidetone",), "pronounce: sidetone"),
        ("nonsense", ("hello",), "cannot be listened for"),
    ],
)
def test_a_grammar_that_cannot_be_listened_for_stops_the_start(
    jsgf: str, sentences: tuple[str, ...], remedy: str
) -> None:
    async def conversation(stt: PocketSphinx) -> None:
        raise AssertionError("it started")

    with pytest.raises(ProviderMisconfigured, match=remedy) as caught:
        run(conversation, Grammar(jsgf, sentences))
    assert caught.value.variable == "DIALOGUE_FILE"


def test_a_worker_that_does_not_start_stops_the_start(desk: Grammar, monkeypatch: pytest.MonkeyPatch) -> None:
    async def conversation(stt: PocketSphinx) -> None:
        raise AssertionError("it started")

    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProviderUnavailable):
        run(conversation, desk)


def test_without_a_dialogue_it_cannot_work_and_says_so() -> None:
    with pytest.raises(ProviderMisconfigured, match="LLM_PROVIDER=dialogue") as caught:
        create(ProviderContext({}, MonotonicClock()))
    assert caught.value.variable == "STT_PROVIDER"


def test_without_the_package_it_says_what_to_install(desk: Grammar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "find_spec", lambda name: None)
    with pytest.raises(ProviderMisconfigured, match=r"install sidetone\[listen\]") as caught:
        create(ProviderContext({}, MonotonicClock(), desk))
    assert caught.value.variable == "STT_PROVIDER"


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1000"])
def test_a_number_of_workers_that_is_none_is_refused(text: str, desk: Grammar) -> None:
    with pytest.raises(ProviderMisconfigured) as caught:
        create(ProviderContext({"POCKETSPHINX_WORKERS": text}, MonotonicClock(), desk))
    assert caught.value.variable == "POCKETSPHINX_WORKERS"


def test_the_number_of_workers_is_a_setting(desk: Grammar) -> None:
    assert create(ProviderContext({"POCKETSPHINX_WORKERS": "3"}, MonotonicClock(), desk))._workers == 3
    assert create(ProviderContext({}, MonotonicClock(), desk))._workers == 1
