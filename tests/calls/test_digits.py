"""Keys: collected, kept beside words, and never mistaken for silence."""

import pytest

from app.calls.journal import CallerSaid
from app.conversation.state import Floor
from providers.base import CallerMessage
from tests.calls.world import Call, World
from tests.doubles import NOISE
from tests.virtual import run


def keyed(call: Call) -> list[tuple[str, bool]]:
    return [(event.text, event.digits) for event in call.events(CallerSaid)]


@pytest.mark.parametrize(("keys", "text"), [("42", "42"), ("42#", "42"), ("#", "#"), ("*9", "*9")])
def test_a_number_ends_by_its_own_pause_or_at_once_by_the_hash_key(keys: str, text: str) -> None:
    async def scene() -> None:
        world = World()
        async with world.call() as call:
            await call.greeting()
            for key in keys:
                call.line.press(key)
            pressed = world.clock.now()
            await call.until(lambda: bool(call.said))
            assert keyed(call) == [(text, True)]
            waited = world.clock.now() - pressed
            assert waited < 0.1 if keys.endswith("#") else waited > 1.4

    run(scene())


def test_words_said_beside_the_keys_are_kept() -> None:
    async def scene() -> None:
        world = World()
        async with world.call() as call:
            await call.greeting()
            call.line.speak(1.0)
            await call.wait(1.1)
            call.line.press("4")
            await call.until_heard_out()
            assert keyed(call) == [("what are your opening hours", False), ("4", True)]
            assert world.llm.requests[-1].messages[-1] == CallerMessage("what are your opening hours 4")

    run(scene())


def test_a_noise_beside_a_key_does_not_make_the_agent_ask_whether_he_is_there() -> None:
    async def scene() -> None:
        world = World(texts=("",))
        world.llm.answer = lambda request: "Please enter your number now, and press the hash key when you are done."
        async with world.call() as call:
            await call.until(lambda: call.session.state.floor is Floor.SPEAKING)
            await call.wait(1.0)
            call.line.speak(0.16, NOISE)  # the key's own tone, half swallowed
            await call.wait(0.2)
            call.line.press("4")
            await call.wait(1.3)
            call.line.press("2")
            await call.until(lambda: bool(call.said))
            assert keyed(call) == [("42", True)]
            assert [reason for reason, _ in call.replies] == ["interrupted"]

    run(scene())


def test_more_keys_than_any_number_has_are_not_kept() -> None:
    async def scene() -> None:
        async with World().call() as call:
            await call.greeting()
            for _ in range(100):
                call.line.press("1")
            await call.until(lambda: bool(call.said))
            assert keyed(call) == [("1" * 32, True)]

    run(scene())
