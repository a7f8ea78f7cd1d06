from hypothesis import given
from hypothesis import strategies as st

from telephony.simulator.ear import PHRASE_BREAK_SAMPLES, Ear, Phrase
from telephony.simulator.sound import AUDIBLE_SAMPLES

LOUD, QUIET = b"\x00", b"\xff"


def hear(ear: Ear, sound: bytes) -> None:
    sound += QUIET * (-len(sound) % 160)
    for at in range(0, len(sound), 160):
        frame = sound[at : at + 160]
        ear.hear(frame if frame.strip(QUIET) else None)


def test_a_phrase_is_measured_to_the_sample() -> None:
    ear = Ear()
    hear(ear, QUIET * 250 + LOUD * 500 + QUIET * 3000)
    assert ear.phrases == [Phrase(250, 750)]
    assert ear.position == 3840
    assert ear.silence == 3840 - 750
    assert ear.sounding is None


def test_a_short_pause_lies_within_a_phrase_and_a_long_one_parts_two() -> None:
    ear = Ear()
    hear(
        ear, LOUD * 160 + QUIET * (PHRASE_BREAK_SAMPLES - 160) + LOUD * 160 + QUIET * PHRASE_BREAK_SAMPLES + LOUD * 160
    )
    assert ear.phrases == [Phrase(0, PHRASE_BREAK_SAMPLES + 160), Phrase(2 * PHRASE_BREAK_SAMPLES + 160, ear.position)]
    assert ear.sounding is ear.phrases[-1]


def test_before_any_sound_the_silence_counts_from_the_answer() -> None:
    ear = Ear()
    hear(ear, QUIET * 320)
    assert (ear.silence, ear.sounding) == (320, None)


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(160, 4000)), max_size=8))
def test_phrases_are_ordered_apart_and_cover_what_sounds_up_to_a_click_at_a_frames_edge(
    stretches: list[tuple[int, int]],
) -> None:
    ear = Ear()
    sound = b"".join(QUIET * pause + LOUD * length for pause, length in stretches)
    hear(ear, sound)
    for before, after in zip(ear.phrases, ear.phrases[1:], strict=False):
        assert after.start - before.end >= PHRASE_BREAK_SAMPLES
    heard = set()
    for phrase in ear.phrases:
        heard.update(range(phrase.start, phrase.end))
    missed = [index for index, value in enumerate(sound) if value == 0 and index not in heard]
    assert len(missed) <= 2 * (AUDIBLE_SAMPLES - 1) * len(stretches)
