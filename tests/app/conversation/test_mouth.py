"""The mouth: one reply at a time over whichever leg there is, stopped at once and resumed without loss."""

from dataclasses import dataclass, field

from app.conversation.mouth import Mouth
from app.conversation.reply import TurnReason
from app.conversation.turn import Turn
from app.telemetry.latency import LatencyMetrics
from telephony.audio import TELEPHONE, AudioFormat, Encoding
from telephony.carrier import CarrierCapabilities, CarrierCommand, PlayAudio
from telephony.clock import LoopClock
from telephony.playout import Certainty, PlacedWord
from tests.doubles import LIKE_TWILIO

SECOND = b"\x10" * 8000
WORDS = (PlacedWord("one", 0, 4000), PlacedWord("two", 4000, 8000))


@dataclass
class StubLeg:
    """The session's side of a leg that counts what it is told."""

    audio: AudioFormat = TELEPHONE
    capabilities: CarrierCapabilities = LIKE_TWILIO
    told: list[str] = field(default_factory=list)

    def wake(self) -> None:
        self.told.append("wake")

    def clear(self) -> None:
        self.told.append("clear")

    def close(self) -> None:
        self.told.append("close")


class Scene:
    def __init__(self) -> None:
        self.started: list[tuple[int, float]] = []
        self.rooms = 0
        self.mouth = Mouth(self, lead_ms=200)
        self.leg = StubLeg()
        self.mouth.attach(self.leg)  # type: ignore[arg-type]  # of a leg, the mouth uses these
        self.turns = 0

    def reply_started(self, turn: Turn, now: float) -> None:
        self.started.append((turn.number, now))

    def reply_room(self) -> None:
        self.rooms += 1

    def begin(self, now: float = 0.0) -> Turn:
        self.turns += 1
        turn = Turn(
            self.turns,
            pacer=self.mouth.pacer,
            observer=self,  # type: ignore[arg-type]  # never run
            metrics=LatencyMetrics(),
            clock=LoopClock(),
        )
        self.mouth.begin(turn, now)
        return turn

    def speak(self, now: float = 0.0) -> Turn:
        """A reply of two words in one second, all of it queued."""
        turn = self.begin(now)
        turn.wording.add("one two")
        self.mouth.pacer.queue(SECOND, WORDS)
        self.mouth.pacer.finish()
        return turn

    def play(self, begin: float, end: float) -> int:
        """Send what is due from `begin` to `end`; the samples that were sent."""
        samples, step = 0, 0
        while (now := begin + step * 0.02) <= end + 1e-9:
            samples += sent(self.mouth.due(now))
            step += 1
        return samples


def sent(commands: tuple[CarrierCommand, ...]) -> int:
    return sum(len(command.payload) for command in commands if isinstance(command, PlayAudio))


def test_the_first_sound_of_a_reply_is_told_once() -> None:
    scene = Scene()
    scene.speak()
    assert scene.mouth.next_due(5.0) is not None
    scene.play(5.0, 6.0)
    assert scene.started == [(1, 5.0)]


def test_a_hold_clears_the_far_end_once_and_stops_the_sound() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 0.5)
    scene.mouth.hold(0.5)
    scene.mouth.hold(0.6)
    assert scene.leg.told == ["clear"]
    assert scene.play(0.5, 3.0) == 0


def test_a_hold_before_the_first_sound_has_nothing_to_clear() -> None:
    scene = Scene()
    scene.speak()
    scene.mouth.hold(0.0)
    assert scene.leg.told == []
    assert scene.play(0.0, 1.0) == 0
    scene.mouth.resume()
    assert scene.leg.told == ["wake"]
    assert scene.play(1.0, 3.0) == 8000
    assert scene.started == [(1, 1.0)]


def test_an_interrupted_reply_ends_with_what_was_heard() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 0.6)
    scene.mouth.hold(0.6)
    ended = scene.mouth.end(TurnReason.INTERRUPTED, 0.9)
    assert ended is not None
    outcome, certainty = ended
    assert (outcome.said, outcome.heard, outcome.reason) == ("one two", "one", TurnReason.INTERRUPTED)
    assert certainty is Certainty.ESTIMATED
    assert scene.play(1.0, 3.0) == 0


def test_a_reply_interrupted_before_a_word_was_heard_is_cancelled() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 0.1)
    scene.mouth.hold(0.1)
    ended = scene.mouth.end(TurnReason.INTERRUPTED, 0.1)
    assert ended is not None
    assert (ended[0].heard, ended[0].reason) == ("", TurnReason.CANCELLED)


def test_a_completed_reply_was_heard_as_it_was_said() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 2.0)
    ended = scene.mouth.end(TurnReason.COMPLETED, 2.0)
    assert ended is not None
    assert ended[0].heard == "one two"


def test_a_reply_ends_once() -> None:
    scene = Scene()
    scene.speak()
    assert scene.mouth.end(TurnReason.LOST, 0.0) is not None
    assert scene.mouth.end(TurnReason.LOST, 0.0) is None


def test_the_reply_after_an_interrupted_one_is_not_held() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 0.5)
    scene.mouth.hold(0.5)
    scene.mouth.end(TurnReason.INTERRUPTED, 0.7)
    scene.speak(0.7)
    assert scene.play(0.7, 3.0) == 8000


def test_the_reply_after_one_that_failed_while_it_was_held_is_held_too() -> None:
    scene = Scene()
    scene.speak()
    scene.mouth.hold(0.0)
    scene.mouth.end(TurnReason.FAILED, 0.5)
    scene.speak(0.5)
    assert scene.play(0.5, 2.0) == 0
    scene.mouth.resume()
    assert scene.play(2.0, 4.0) == 8000


def test_the_reply_after_one_that_failed_aloud_is_not_held() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 2.0)
    scene.mouth.end(TurnReason.FAILED, 2.0)
    scene.speak(2.0)
    assert scene.play(2.0, 4.0) == 8000


def test_a_lost_leg_keeps_what_was_not_heard_for_the_next_one() -> None:
    scene = Scene()
    scene.speak()
    scene.play(0.0, 0.5)
    scene.mouth.detach(0.5)
    scene.mouth.wake()
    assert scene.leg.told == []
    assert scene.play(0.5, 5.0) == 0
    scene.mouth.attach(StubLeg())  # type: ignore[arg-type]
    scene.mouth.resume()
    assert scene.play(5.0, 7.0) == 4000  # from the word that was cut


def test_a_leg_that_is_lost_in_silence_leaves_nothing_held() -> None:
    scene = Scene()
    scene.mouth.detach(0.0)
    scene.mouth.attach(StubLeg())  # type: ignore[arg-type]
    scene.speak(1.0)
    assert scene.play(1.0, 3.0) == 8000


def test_the_next_leg_may_speak_another_format() -> None:
    scene = Scene()
    wideband = AudioFormat(Encoding.PCM16, 16000)
    scene.mouth.detach(0.0)
    scene.mouth.attach(StubLeg(audio=wideband))  # type: ignore[arg-type]
    assert scene.mouth.audio == wideband
    scene.begin(1.0)
    scene.mouth.pacer.queue(b"\0" * 640)
    assert sent(scene.mouth.due(1.0)) == 640


def test_a_turn_is_told_when_a_full_pacer_has_room() -> None:
    scene = Scene()
    scene.begin()
    for _ in range(9):
        scene.mouth.pacer.queue(SECOND)
    assert not scene.mouth.pacer.has_room()
    scene.play(0.0, 2.0)
    assert scene.rooms == 1


def test_a_reply_is_heard_out_on_its_last_syllable_held_or_not() -> None:
    scene = Scene()
    scene.speak()
    assert not scene.mouth.heard_out(9.0)
    scene.play(0.0, 0.4)
    assert not scene.mouth.heard_out(0.4)
    scene.mouth.hold(0.4)
    assert not scene.mouth.heard_out(9.0)
    scene.mouth.resume()
    scene.play(10.0, 10.6)
    assert scene.mouth.heard_out(10.6)
    scene.mouth.hold(10.6)
    assert scene.mouth.heard_out(99.0)


def test_a_reply_that_is_still_being_made_is_not_heard_out() -> None:
    scene = Scene()
    scene.begin()
    scene.mouth.pacer.queue(SECOND, WORDS)
    scene.play(0.0, 1.0)
    assert not scene.mouth.heard_out(1.0)
    scene.mouth.pacer.finish()
    assert scene.mouth.heard_out(1.0)


def test_a_short_reply_is_heard_out_when_most_of_it_was_heard() -> None:
    scene = Scene()
    scene.begin()
    scene.mouth.pacer.queue(SECOND[:3200], (PlacedWord("yes", 0, 3200),))
    scene.mouth.pacer.finish()
    scene.play(0.0, 0.1)
    assert not scene.mouth.heard_out(0.1)
    scene.play(0.1, 0.3)
    assert scene.mouth.heard_out(0.3)
