import io
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from telephony.simulator.errors import SoundRejected
from telephony.simulator.sound import (
    SILENT_FRAME,
    audible_span,
    comfort_noise,
    decode,
    encode,
    hum,
    mulaw_wav,
    read_wav,
    resample,
    stereo_wav,
)


def sine(rate_hz: int, hz: float, seconds: float = 1.0) -> np.ndarray:
    return 10_000 * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)


def pcm_wav(samples: np.ndarray, rate_hz: int, channels: int = 1, width: int = 2) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return target.getvalue()


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(float) ** 2) + 1e-9))


def test_the_audible_part_is_found_to_the_sample() -> None:
    assert audible_span(b"\xff" * 100 + b"\x00" * 7 + b"\xff" * 53) == (100, 107)


def test_silence_noise_below_the_threshold_and_clicks_are_not_audible() -> None:
    assert audible_span(SILENT_FRAME) is None
    assert audible_span(b"\x7f" * 160) is None
    assert audible_span(b"\xff" * 80 + b"\x00\x80" + b"\xff" * 78) is None
    assert all(audible_span(frame) is None for frame in comfort_noise(-60))


def test_comfort_noise_has_its_level() -> None:
    samples = np.concatenate([decode(frame) for frame in comfort_noise(-50)])
    assert level_db(samples) - 20 * np.log10(32768) == pytest.approx(-50, abs=1)


def test_a_mulaw_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(mulaw_wav(bytes(range(255))))
    assert read_wav(path) == bytes(range(255))


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 44_100])
def test_pcm_of_any_rate_keeps_pitch_level_and_length(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(pcm_wav(sine(rate_hz, 1000), rate_hz))
    samples = decode(read_wav(path))[400:-400]
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(len(samples) + 800 - 8000) <= 1
    assert np.argmax(spectrum) * 8000 / len(samples) == pytest.approx(1000, abs=2)
    assert level_db(samples) == pytest.approx(level_db(sine(8000, 1000)), abs=0.2)


def test_what_telephones_do_not_carry_is_filtered_and_does_not_come_back_as_an_alias() -> None:
    resampled = resample(sine(16_000, 5000), 16_000, 8000)[400:-400]
    assert level_db(resampled) < level_db(sine(8000, 1000)) - 50


def test_channels_are_mixed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    both = np.column_stack((sine(8000, 500), -sine(8000, 500)))
    path.write_bytes(pcm_wav(both, 8000, channels=2))
    assert level_db(decode(read_wav(path))) < 0


def extensible(bits: int, sub_format: int, samples: bytes) -> bytes:
    shape = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 16_000, 2, bits, 22, bits, 4)
    shape += struct.pack("<H", sub_format) + b"\0" * 14
    chunks = b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", len(shape)) + shape
    chunks += b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_extensible_headers_and_foreign_chunks_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(extensible(16, 1, sine(8000, 500).astype("<i2").tobytes()))
    assert read_wav(path) == encode(sine(8000, 500))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a WAV"),
        (b"RIFF\0\0\0\0WAVE", "no sound"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "unpack"),
        (extensible(24, 1, b""), "24 bits"),
        (extensible(16, 3, b""), "encoding 3"),
    ],
)
def test_other_files_are_rejected_by_name(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    with pytest.raises(SoundRejected, match=rf"odd\.wav.*{complaint}"):
        read_wav(path)


def test_a_missing_file_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(SoundRejected, match=r"none\.wav: No such file"):
        read_wav(tmp_path / "none.wav")


def test_the_hum_repeats_without_a_click() -> None:
    twice = decode(hum() * 2).astype(int)
    assert np.max(np.abs(np.diff(twice))) <= np.max(np.abs(np.diff(twice[:160]))) + 1


def test_stereo_has_the_caller_left_and_the_agent_right() -> None:
    left, right = encode(sine(8000, 300)), encode(sine(8000, 700))
    with wave.open(io.BytesIO(stereo_wav(left, right))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 8000)
        both = np.frombuffer(file.readframes(8000), "<i2").reshape(-1, 2)
    assert np.array_equal(both[:, 0], decode(left))
    assert np.array_equal(both[:, 1], decode(right))
