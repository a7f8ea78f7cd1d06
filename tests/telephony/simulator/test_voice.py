from pathlib import Path

import numpy as np
import pytest

from telephony.simulator.errors import SoundRejected
from telephony.simulator.sound import decode, mulaw_wav
from telephony.simulator.voice import RECORDINGS, recordings, slug, utterance


@pytest.mark.parametrize("name", sorted(recordings()))
def test_every_recording_is_there_trimmed_and_level(name: str) -> None:
    recorded = utterance(recordings()[name], Path())
    assert slug(recordings()[name]) == name
    assert recorded.onset < 2000
    assert len(recorded.audio) - recorded.end < 2500
    frames = decode(recorded.audio)[: len(recorded.audio) // 160 * 160].astype(float).reshape(-1, 160)
    power = np.mean(frames**2, axis=1)
    active = power[power > power.max() / 1000]
    assert 10 * np.log10(active.mean()) - 20 * np.log10(32768) == pytest.approx(-22, abs=1.5)


def test_no_recording_is_left_over() -> None:
    assert {path.stem for path in RECORDINGS.glob("*.wav")} == set(recordings())


def test_a_recording_is_found_by_its_words_however_they_are_written() -> None:
    assert utterance("what's the WEATHER like", Path()).text == "What's the weather like?"
    assert utterance("At ten o’clock!", Path()) == utterance("at-ten-oclock", Path())


def test_a_file_is_found_beside_the_script(tmp_path: Path) -> None:
    (tmp_path / "cough.wav").write_bytes(mulaw_wav(b"\xff" * 80 + b"\x00" * 80))
    cough = utterance("cough.wav", tmp_path)
    assert (cough.text, cough.onset, cough.end) == ("cough", 80, 160)


def test_unknown_words_are_rejected_with_what_there_is() -> None:
    with pytest.raises(SoundRejected, match=r"sing me a song.*goodbye"):
        utterance("sing me a song", Path())


def test_a_silent_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "quiet.wav").write_bytes(mulaw_wav(b"\xff" * 800))
    with pytest.raises(SoundRejected, match="nothing audible"):
        utterance("quiet.wav", tmp_path)
