"""Adding a carrier or a provider is one file and one line: a whole call over toys that nothing in the house knows."""

import asyncio
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from providers.registry import PROVIDERS
from telephony.audio import FRAME_BYTES, FRAME_MS, MULAW_SILENCE
from telephony.carriers import CARRIERS
from tests.serving import bridge
from tests.toys import TOY, read, spell

SILENCE = bytes([MULAW_SILENCE]) * FRAME_BYTES
ROOT = Path(__file__).parents[1]
PUBLIC = "https://toy.example"
SECRET = {"x-toy-secret": "a secret of the toy"}
CALL = {"call": "toy-call-1", "from": "1001", "to": "2002"}
SETTINGS = {
    "PUBLIC_URL": PUBLIC,
    "TOY_SECRET": SECRET["x-toy-secret"],
    "STT_PROVIDER": "toy",
    "LLM_PROVIDER": "toy",
    "TTS_PROVIDER": "toy",
    "LEVEL_VOICE": "false",
}


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each."""
    monkeypatch.setitem(CARRIERS, "toy", TOY)
    monkeypatch.setitem(PROVIDERS["stt"], "toy", "tests.toys:create_stt")
    monkeypatch.setitem(PROVIDERS["llm"], "toy", "tests.toys:create_llm")
    monkeypatch.setitem(PROVIDERS["tts"], "toy", "tests.toys:create_tts")


class ToyCaller:
    """The toy carrier's end of a stream: each 20 ms a frame goes out and a frame of what came is heard."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._mouth: deque[bytes] = deque()
        self._waiting: deque[bytes | str] = deque()
        self._heard = b""
        self._news = asyncio.Condition()

    async def talk(self) -> None:
        """Until the bridge closes the stream."""
        try:
            while True:
                frame = self._mouth.popleft() if self._mouth else SILENCE
                await self._websocket.send(f"A:{b64encode(frame).decode()}")
                await self._play_frame()
                await asyncio.sleep(FRAME_MS / 1000)
        except ConnectionClosedOK:
            return

    async def _play_frame(self) -> None:
        if self._waiting and isinstance(self._waiting[0], bytes):
            self._heard += self._waiting.popleft()
        while self._waiting and isinstance(self._waiting[0], str):
            await self._websocket.send(f"M:{self._waiting.popleft()}")
        async with self._news:
            self._news.notify_all()

    async def listen(self) -> None:
        """Until the bridge closes the stream."""
        async for message in self._websocket:
            letter, _, value = str(message).partition(":")
            match letter:
                case "a":
                    sound = b64decode(value, validate=True)
                    self._waiting += (sound[at : at + FRAME_BYTES] for at in range(0, len(sound), FRAME_BYTES))
                case "m":
                    self._waiting.append(value)
                case "c":
                    self._waiting.clear()
                case _:
                    raise AssertionError(message)

    def say(self, text: str) -> None:
        """Spelling is no voice, so it is kept from the recogniser while it may be the agent's echo: let that die."""
        spelled = spell(text)
        self._mouth += [SILENCE] * (1000 // FRAME_MS)
        self._mouth += (spelled[at : at + FRAME_BYTES] for at in range(0, len(spelled), FRAME_BYTES))

    async def hears(self, text: str) -> None:
        """Return once this is the last that was heard."""
        async with self._news:
            await self._news.wait_for(lambda: self.heard.endswith(text))

    @property
    def heard(self) -> str:
        return read(self._heard).strip()


async def post(url: str, hook: str, content: dict[str, str], status: int = 200) -> Any:
    """What the bridge answers to one of the toy carrier's webhooks."""
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/toy/{hook}", json=content, headers=SECRET)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


@asynccontextmanager
async def stream(url: str, document: dict[str, str]) -> AsyncIterator[ClientConnection]:
    """The stream that a document asks for. The public name of the bridge leads to this machine."""
    assert document["to"].startswith(PUBLIC.replace("https", "wss"))
    local = document["to"].replace(PUBLIC.replace("https", "wss"), url.replace("http", "ws"))
    async with connect(local, additional_headers=SECRET, compression=None) as websocket:
        await websocket.send(f"S:{CALL['call']}:stream-1:{document['token']}")
        yield websocket


@pytest.mark.usefixtures("toys")
def test_a_toy_carrier_and_toy_providers_hold_a_whole_call(tmp_path: Path) -> None:
    async def call(url: str) -> None:
        document = await post(url, "voice", CALL)
        assert document["do"] == "stream"
        assert document["then"] == f"{PUBLIC}/toy/after"
        async with stream(url, document) as websocket, asyncio.TaskGroup() as group:
            caller = ToyCaller(websocket)
            group.create_task(caller.talk())
            listening = group.create_task(caller.listen())
            await caller.hears("toy speaking.")
            caller.say("what a fine day.")
            await caller.hears("you said what a fine day.")
            caller.say("goodbye.")
            await caller.hears("so long.")
            await listening  # the bridge hangs up
        assert caller.heard == "toy speaking. you said what a fine day. so long."
        assert websocket.close_code == 1000
        assert await post(url, "after", CALL) == {"do": "hang up", "say": ""}
        await post(url, "status", {**CALL, "status": "over"}, status=204)

    async def main() -> None:
        async with asyncio.timeout(20), bridge(tmp_path, **SETTINGS) as url:
            async with httpx.AsyncClient() as client:
                ready = (await client.get(f"{url}/readyz")).json()
            assert set(ready["providers"].values()) == {"toy"}
            await call(url)

    asyncio.run(main())


@pytest.mark.usefixtures("toys")
def test_a_toy_stream_that_is_lost_is_taken_up_by_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), bridge(tmp_path, **SETTINGS) as url:
            async with stream(url, await post(url, "voice", CALL)) as websocket, asyncio.TaskGroup() as group:
                caller = ToyCaller(websocket)
                talking, listening = group.create_task(caller.talk()), group.create_task(caller.listen())
                await caller.hears("toy speaking.")
                talking.cancel()
                listening.cancel()
            again = await post(url, "after", CALL)
            assert again["do"] == "stream"
            async with stream(url, again) as websocket, asyncio.TaskGroup() as group:
                caller = ToyCaller(websocket)
                group.create_task(caller.talk())
                group.create_task(caller.listen())
                caller.say("goodbye.")
                await caller.hears("so long.")
            assert await post(url, "after", CALL) == {"do": "hang up", "say": ""}

    asyncio.run(main())


@pytest.mark.usefixtures("toys")
def test_a_toy_carrier_is_guarded_like_any_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), bridge(tmp_path, **SETTINGS) as url:
            async with httpx.AsyncClient() as client:
                for headers in ({}, {"x-toy-secret": "guessed"}):
                    assert (await client.post(f"{url}/toy/voice", json=CALL, headers=headers)).status_code == 403
                assert (await client.post(f"{url}/toy/voice", content="{", headers=SECRET)).status_code == 400
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"{url.replace('http', 'ws')}/toy/media")
            assert refused.value.response.status_code == 403

    asyncio.run(main())


def test_nothing_in_the_house_knows_the_toys() -> None:
    for folder in ("app", "telephony", "providers"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "toy" not in path.read_text().lower().split(), path
            assert "tests" not in {line.split()[1].partition(".")[0] for line in imports(path)}, path
    assert "toy" not in CARRIERS
    assert not any("toy" in kind for kind in PROVIDERS.values())


def imports(path: Path) -> list[str]:
    """Import lines of a file."""
    return [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
