"""How a trunk is kept up, in virtual time and against a registrar that does what the test says."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from telephony.clock import LoopClock
from telephony.sip.errors import CommandFailed
from telephony.sip.events import TrunkState, TrunkStatus
from telephony.sip.settings import Trunk
from telephony.sip.signals import AnswerSignalled, RegistrationSignalled
from telephony.sip.trunk import TrunkKeeper
from tests.virtual import run


class Line:
    """The library's side of a trunk: notes when it was asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.refuses = False

    def _ask(self, what: str) -> None:
        self.asked.append((what, LoopClock().now()))
        if self.refuses:
            raise CommandFailed("no transport")

    def register(self) -> None:
        self._ask("register")

    def unregister(self) -> None:
        self._ask("unregister")

    def ask(self) -> None:
        self._ask("ask")


class Scene:
    def __init__(self, **trunk: Any) -> None:
        self.line = Line()
        self.told: list[TrunkStatus] = []
        settings = Trunk(**{"name": "t", "server": "sip.example", "user": "u", **trunk})
        self.keeper = TrunkKeeper(settings, self.line, LoopClock(), self._patiently, self.told.append, Random(1))

    async def _patiently(self, command: Callable[[], None]) -> None:
        await asyncio.sleep(0.01)  # a name is looked up
        command()

    def answers(self, status: int, expires_s: int = 0) -> None:
        self.keeper.signalled(RegistrationSignalled(status, "", expires_s, "192.0.2.1:5060"))

    def states(self) -> list[TrunkState]:
        return [status.state for status in self.told]


def act(play: Callable[[Scene], Coroutine[Any, Any, None]], **trunk: Any) -> None:
    async def main() -> None:
        scene = Scene(**trunk)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(scene.keeper.run())
            await asyncio.sleep(0.1)
            await play(scene)
            keeping.cancel()

    run(main())


def test_a_registration_that_stands_is_left_to_the_library() -> None:
    async def play(scene: Scene) -> None:
        scene.answers(200, 300)
        for _ in range(100):  # it refreshes
            await asyncio.sleep(270)
            scene.answers(200, 300)
        assert len(scene.line.asked) == 1 and scene.states() == [TrunkState.UP]

    act(play)


def test_a_registration_that_was_not_refreshed_is_made_anew() -> None:
    async def play(scene: Scene) -> None:
        scene.answers(200, 300)
        await asyncio.sleep(331)
        assert len(scene.line.asked) == 2

    act(play)


def test_failures_are_tried_again_ever_more_slowly_until_it_works() -> None:
    async def play(scene: Scene) -> None:
        waits = []
        for asked in range(1, 10):
            assert len(scene.line.asked) == asked
            scene.answers(503)
            waits.append(scene.told[-1].retry_in_s or 0.0)
            await asyncio.sleep(waits[-1] + 0.1)
        assert scene.states() == [TrunkState.DOWN] * 9
        assert all(min(60, 2.0**n) / 2 <= wait <= min(60, 2.0**n) for n, wait in enumerate(waits))
        scene.answers(200, 300)
        assert scene.told[-1].state is TrunkState.UP

    act(play)


def test_no_answer_at_all_is_a_failure() -> None:
    async def play(scene: Scene) -> None:
        await asyncio.sleep(40)
        assert (scene.told[-1].state, scene.told[-1].status) == (TrunkState.DOWN, 408)
        await asyncio.sleep(2)
        assert len(scene.line.asked) == 2

    act(play)


def test_a_refused_password_is_tried_rarely() -> None:
    async def play(scene: Scene) -> None:
        scene.answers(403)
        assert scene.told[-1].state is TrunkState.REJECTED
        await asyncio.sleep(299)
        assert len(scene.line.asked) == 1
        await asyncio.sleep(2)
        assert len(scene.line.asked) == 2

    act(play)


def test_a_library_that_cannot_send_is_a_trunk_that_is_down() -> None:
    async def main() -> None:
        scene = Scene()
        scene.line.refuses = True
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(scene.keeper.run())
            await asyncio.sleep(10)
            assert (scene.told[0].state, scene.told[0].reason) == (TrunkState.DOWN, "no transport")
            assert 3 <= len(scene.line.asked) <= 6
            keeping.cancel()

    run(main())


def test_a_lost_connection_is_registered_anew_at_once() -> None:
    async def play(scene: Scene) -> None:
        scene.keeper.disconnected()  # while it is not up: nothing to lose
        scene.answers(200, 300)
        scene.keeper.disconnected()
        await asyncio.sleep(1.1)
        assert len(scene.line.asked) == 2

    act(play)


def test_a_trunk_that_is_asked_is_down_after_two_misses_and_up_with_the_first_answer() -> None:
    async def play(scene: Scene) -> None:
        scene.keeper.signalled(AnswerSignalled(404, "", "192.0.2.1:5060"))
        await asyncio.sleep(31)
        scene.keeper.signalled(AnswerSignalled(408, "", ""))
        assert scene.states() == [TrunkState.UP]
        await asyncio.sleep(2)
        scene.keeper.signalled(AnswerSignalled(408, "", ""))
        assert scene.states() == [TrunkState.UP, TrunkState.DOWN]
        await asyncio.sleep(3)
        scene.keeper.signalled(AnswerSignalled(200, "", "192.0.2.1:5060"))
        assert scene.states()[-1] is TrunkState.UP
        assert {what for what, _ in scene.line.asked} == {"ask"}

    act(play, register=False)


def test_a_trunk_that_nobody_asks_is_up() -> None:
    async def play(scene: Scene) -> None:
        assert scene.states() == [TrunkState.UP] and scene.line.asked == []

    act(play, register=False, options_every_s=0)


def test_signing_off_unregisters_once_and_for_good() -> None:
    async def play(scene: Scene) -> None:
        scene.answers(200, 300)
        await scene.keeper.sign_off()
        await scene.keeper.sign_off()
        scene.answers(200, 0)
        await asyncio.sleep(1000)
        assert [what for what, _ in scene.line.asked] == ["register", "unregister"]
        assert scene.states() == [TrunkState.UP, TrunkState.CLOSED]

    act(play)
