"""The turn-end model is asked once for each pause, about the right audio, and answers that come too late are void."""

from collections.abc import Callable

from app.conversation.ear import Ear, EarSettings
from app.conversation.melody import Melody

DETECTOR_S = 0.032
USUAL = EarSettings()


class Judge:
    """Remembers what it was asked; answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, Callable[[float], None]]] = []

    async def __aenter__(self) -> "Judge":
        return self

    async def __aexit__(self, *exc: object) -> None:
        pass

    def judge(self, turn: bytes, told: Callable[[float], None]) -> None:
        self.asked.append((turn, told))


class Caller:
    def __init__(self) -> None:
        self.ear, self.judge, self.now = Ear(), Judge(), 50.0
        self.melody = Melody(self.judge, self.ear)

    def line(self, ms: int, probability: float, code: int) -> None:
        for _ in range(round(ms / 32)):
            self.now += DETECTOR_S
            self.melody.audio(bytes([code]) * 256)
            self.ear.voice(probability, self.now, disputed=False)
            if not self.ear.speaking:
                self.melody.silence(self.now)


def test_one_question_for_a_pause_about_the_turn_and_a_little_before():
    caller = Caller()
    caller.line(2000, 0.0, 1)
    caller.line(960, 0.9, 2)
    caller.line(480, 0.0, 3)
    (turn, _), *more = caller.judge.asked
    assert not more
    assert turn.count(2) == 960 * 8
    assert 0 < turn.count(1) <= 320 * 8
    assert 200 * 8 - 256 <= turn.count(3) <= 260 * 8


def test_no_question_before_anybody_spoke_nor_in_a_short_pause():
    caller = Caller()
    caller.line(1000, 0.0, 1)
    caller.line(640, 0.9, 2)
    caller.line(128, 0.0, 3)
    assert caller.judge.asked == []


def test_each_pause_is_asked_about_and_an_answer_about_an_earlier_one_is_void():
    caller = Caller()
    caller.line(640, 0.9, 2)
    caller.line(320, 0.0, 3)
    caller.line(640, 0.9, 2)
    caller.line(320, 0.0, 3)
    assert len(caller.judge.asked) == 2
    early, late = (told for _, told in caller.judge.asked)
    early(0.99)
    assert caller.ear.patience_ms() == USUAL.endpoint_ms
    late(0.1)
    assert caller.ear.patience_ms() == USUAL.trailing_ms


def test_an_answer_after_the_turn_was_taken_is_void():
    caller = Caller()
    caller.line(640, 0.9, 2)
    caller.line(320, 0.0, 3)
    caller.ear.take_words()
    caller.judge.asked[0][1](0.1)
    assert caller.ear.patience_ms() == USUAL.endpoint_ms
