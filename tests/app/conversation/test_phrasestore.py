"""Phrases on disk: bounded, whole or not there at all."""

import os
from pathlib import Path

from app.conversation.phrasestore import PhraseKey, PhraseStore
from providers.base import SpeechChunk, SpokenWord
from telephony.audio import TELEPHONE, AudioFormat, Encoding

SPEECH = (SpeechChunk(b"\x01" * 800, (SpokenWord("hello", 0, 400),)), SpeechChunk(b"\x02" * 80))


def key(text: str) -> PhraseKey:
    return PhraseKey("voice", TELEPHONE, text)


def test_a_phrase_comes_back_as_it_was_with_its_words(tmp_path: Path) -> None:
    PhraseStore(tmp_path).save(key("hello"), SPEECH)
    assert PhraseStore(tmp_path).load(key("hello")) == SPEECH
    assert PhraseStore(tmp_path).load(key("goodbye")) is None
    assert PhraseStore(tmp_path).load(PhraseKey("voice", AudioFormat(Encoding.PCM16, 16000), "hello")) is None


def test_the_folder_is_bounded_and_what_was_not_needed_for_longest_goes(tmp_path: Path) -> None:
    store = PhraseStore(tmp_path, most_bytes=3200)
    for age, text in enumerate(("one", "two", "three")):
        store.save(key(text), SPEECH)
        os.utime(tmp_path / key(text).file_name, (age, age))
    assert store.load(key("one")) == SPEECH  # needed again
    store.save(key("four"), SPEECH)
    assert store.load(key("two")) is None
    assert all(store.load(key(text)) == SPEECH for text in ("one", "three", "four"))


def test_no_half_written_file_is_left_behind(tmp_path: Path) -> None:
    store = PhraseStore(tmp_path)
    store.save(key("hello"), SPEECH)
    store.save(key("hello"), SPEECH)
    assert [path.name for path in tmp_path.iterdir()] == [key("hello").file_name]
