"""The binding, against the real library."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra `speak` is not installed")

from providers.tts.espeak_library import RATE_HZ, Synthesis, Voice, VoiceUnknown, load

VOICE = Voice("en-us", 165, 50)
SENTENCE = "We are open from nine to five, and until noon on Saturdays."


def synthesise(text: str, voice: Voice = VOICE) -> Synthesis:
    return load().synthesise(text, voice, lambda: False)


def seconds(synthesis: Synthesis) -> float:
    return len(synthesis.samples) / RATE_HZ


def test_the_process_has_one_library() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len({id(library) for library in pool.map(lambda _: load(), range(8))}) == 1


def test_a_sentence_is_audible_and_lasts_as_long_as_its_words() -> None:
    synthesis = synthesise(SENTENCE)
    assert 3 < seconds(synthesis) < 6
    assert np.abs(synthesis.samples.astype(int)).max() > 8000


def test_clauses_cover_text_and_audio() -> None:
    synthesis = synthesise(SENTENCE)
    assert [clause.text_end for clause in synthesis.clauses] == [SENTENCE.index("and"), len(SENTENCE)]
    assert synthesis.clauses[-1].sample_end == len(synthesis.samples)


def test_words_are_placed_in_the_text_and_in_the_audio() -> None:
    first, second = synthesise(SENTENCE).clauses
    for clause, sample_start in ((first, 0), (second, first.sample_end)):
        assert {position for position, _ in clause.words} <= {
            at for at in range(len(SENTENCE)) if at == 0 or SENTENCE[at - 1] == " "
        }
        samples = [sample for _, sample in clause.words]
        assert samples == sorted(samples)
        assert sample_start <= samples[0] < samples[-1] < clause.sample_end


def test_positions_count_characters_and_not_bytes() -> None:
    text = "Größe, über"
    assert [position for clause in synthesise(text).clauses for position, _ in clause.words] == [0, text.index("über")]


@pytest.mark.parametrize("text", ["<b>bold</b>", "<speak>x</speak>", "[[h@l'oU]]", "a & b", 'say <audio src="x"/>'])
def test_markup_is_text(text: str) -> None:
    assert seconds(synthesise(text)) > 0.9  # a word and its closing pause last 0.7 s


@pytest.mark.parametrize("text", ["", " ", "\n", "...", "—", "\0", "\ud800", "?!"])
def test_nothing_to_say_is_silence(text: str) -> None:
    assert seconds(synthesise(text)) < 0.7


def test_words_behind_a_zero_character_are_spoken() -> None:
    assert seconds(synthesise("one\0two three four five")) > 1.0


def test_a_cancelled_synthesis_stops_and_the_next_one_is_whole() -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    whole = synthesise(SENTENCE)
    assert seconds(load().synthesise(SENTENCE * 50, VOICE, cancelled)) < 1.5
    assert asked == 4
    assert seconds(synthesise(SENTENCE)) == pytest.approx(seconds(whole), abs=0.1)


def test_an_unknown_voice_is_refused_and_does_not_replace_the_right_one() -> None:
    spoken = synthesise("garage")
    with pytest.raises(VoiceUnknown):
        load().select(Voice("klingon-operatic", 300, 50))
    assert seconds(synthesise("garage")) == pytest.approx(seconds(spoken), abs=0.01)


@pytest.mark.parametrize("name", ["en-us", "en-gb", "de", "fr-fr", "English (America)"])
def test_a_voice_is_found_by_its_own_name_and_by_its_language(name: str) -> None:
    load().select(Voice(name, 165, 50))


def test_the_rate_is_the_callers_even_when_calls_differ() -> None:
    slow, fast = Voice("en-us", 100, 50), Voice("en-us", 300, 50)
    lengths = [seconds(synthesise(SENTENCE, voice)) for voice in (slow, fast, slow, fast)]
    assert min(lengths[0], lengths[2]) > 1.5 * max(lengths[1], lengths[3])


def test_threads_take_turns() -> None:
    expected = seconds(synthesise(SENTENCE))
    barrier = threading.Barrier(4)

    def speak(_: int) -> list[float]:
        barrier.wait()
        return [seconds(synthesise(SENTENCE)) for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        lengths = [length for spoken in pool.map(speak, range(4)) for length in spoken]
    assert len(lengths) == 80
    assert lengths == pytest.approx([expected] * 80, abs=0.1)
