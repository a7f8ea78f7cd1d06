"""Two decoders that must agree on what was said.

One has a grammar, and always hears a sentence of the dialogue; the other a small n-gram model of the same sentences,
and hears one only if it is there.

Where they hear much the same, the turn was meant for the dialogue; where they differ, it was not, and nothing is
better than a guess. Measured figures stand next to what they decide.
"""

import audioop
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pocketsphinx
from pocketsphinx.lm import ArpaBoLM

from providers.stt.pocketsphinx.automaton import Automaton, Transition, smallest
from providers.stt.pocketsphinx.call import Heard

_ACOUSTIC_MODEL = "en-us/en-us"
_DICTIONARY = "en-us/cmudict-en-us.dict"

_CEPSTRAL_MEAN = "52.06,7.46,9.37,5.95,5.96,-5.0,-0.8,-2.71,0.41,-0.51,-7.2,-1.54,-0.51"
"""Mean cepstrum of telephone speech whose samples are doubled. Every utterance starts from it: carrying the mean over
from the last one made as many mistakes, and ties a decoder to a call."""

_AGREEMENT = 0.6
"""Share of phones on which both must agree. Of 324 synthetic turns 307 are accepted, 3 of them wrong; of 372 human
prompts about other things 17, all shorter than two seconds. Phones, not words: "two" and "to" are the same evidence."""

ASIDES = ("mhm", "uh-huh", "hmm", "aha")
"""What listeners say without wanting the floor; part of every grammar, so that it is not taken for anything else. That
costs no accuracy (253 of 292 synthetic turns right, with and without), and 13 of 24 backchannels are heard, not 6."""

_SURE_FRAMES = 5
"""Frames (100 ms) for which both must hear the same before a partial is stable: then 5 % of them change later, without
it 19 %."""

_INSERTION_PENALTY = 0.02
"""Likelihood of one more word in the grammar. Without it a short "yes" is heard as "the hours"; right turns of 324:
294 at 0.65 (the default), 301 at 0.02, 277 at 0.0001."""

_SEARCH = "turn"
_PUBLIC = re.compile(r"public\s+<\w+>\s*=")


class UnknownWords(Exception):
    """Words of the grammar that the pronunciation dictionary lacks."""

    def __init__(self, words: Collection[str]) -> None:
        super().__init__(", ".join(sorted(words)))


_LOG_LEVEL = "FATAL"
"""A hypothesis that is no sentence of the grammar is an error to the library, and an empty answer to us."""


class UnusableGrammar(Exception):
    """A grammar that is no JSGF, or is empty."""


class Recogniser:
    """Listens for one grammar; decoders are made as utterances need them and used again. One thread only.

    `folder` keeps the language model, which every decoder reads for itself. Raises `UnknownWords`, `UnusableGrammar`.
    """

    def __init__(self, jsgf: str, sentences: Iterable[str], folder: Path) -> None:
        self._model = folder / "turn.arpa"
        words = _write_model((*sentences, *ASIDES), self._model)
        self.automaton = _automaton(_with_asides(jsgf))
        words |= {word for row in self.automaton.rows for word in row}
        self._phones = _pronunciations(words)
        self._pairs: list[_Pair] = []
        self.release(self._made())

    def utterance(self) -> "Utterance":
        """Begin to listen. The utterance is ended by `Utterance.finish`."""
        return Utterance(self, self._pairs.pop() if self._pairs else self._made())

    def release(self, pair: "_Pair") -> None:
        self._pairs.append(pair)

    def _made(self) -> "_Pair":
        """A new pair: 25 ms, 18 MB."""
        # The grammar's best path through its lattice takes 0.1 to 0.6 s at the end of a turn and gains nothing.
        grammar = self._decoder(bestpath=False, wip=_INSERTION_PENALTY)
        fsg = grammar.create_fsg(_SEARCH, self.automaton.start, len(self.automaton.rows), _weighted(self.automaton))
        grammar.add_fsg(_SEARCH, fsg)
        grammar.activate_search(_SEARCH)
        ngram = self._decoder(fwdflat=False)  # the second pass takes 60 ms, for one sentence in twenty
        ngram.add_lm_file(_SEARCH, str(self._model))
        ngram.activate_search(_SEARCH)
        return _Pair(grammar, ngram)

    def _decoder(self, **options: float) -> pocketsphinx.Decoder:
        hmm = pocketsphinx.get_model_path(_ACOUSTIC_MODEL)
        decoder = pocketsphinx.Decoder(
            hmm=hmm, dict=None, lm=None, cmninit=_CEPSTRAL_MEAN, loglevel=_LOG_LEVEL, **options
        )
        for word, phones in self._phones.items():
            decoder.add_word(word, phones, False)
        return decoder

    def agreement(self, one: str, other: str) -> float:
        """Share of phones on which two texts agree, 0 to 1."""
        return _similarity(self._spelled(one), self._spelled(other))

    def _spelled(self, text: str) -> list[str]:
        return [phone for word in text.split() for phone in self._phones[word].split()]


class _Pair:
    """A grammar decoder and an n-gram decoder that hear the same."""

    def __init__(self, grammar: pocketsphinx.Decoder, ngram: pocketsphinx.Decoder) -> None:
        self.grammar = grammar
        self.ngram = ngram

    def start(self) -> None:
        for decoder in (self.grammar, self.ngram):
            decoder.set_cmn(_CEPSTRAL_MEAN)
            decoder.start_utt()

    def hear(self, samples: bytes) -> tuple[str, str]:
        """What both make of it, after more samples (16 kHz)."""
        self.grammar.process_raw(samples, False, False)
        self.ngram.process_raw(samples, False, False)
        return self.texts()

    def end(self) -> tuple[str, str]:
        self.grammar.end_utt()
        self.ngram.end_utt()
        return self.texts()

    def texts(self) -> tuple[str, str]:
        return _text(self.grammar), _text(self.ngram)


def _text(decoder: pocketsphinx.Decoder) -> str:
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


class Utterance:
    """One stretch of speech, frame by frame."""

    def __init__(self, recogniser: Recogniser, pair: _Pair) -> None:
        self._recogniser = recogniser
        self._pair = pair
        self._texts = ("", "")
        self._same_frames = 0
        self._reported = Heard("")
        pair.start()

    def hear(self, frame: bytes) -> Heard | None:
        """Take a frame (µ-law, 8 kHz); what it changed, if anything. 1.2 to 3 ms."""
        texts = self._pair.hear(_doubled(frame))
        self._same_frames = self._same_frames + 1 if texts == self._texts else 0
        self._texts = texts
        heard = self._so_far()
        if heard == self._reported:
            return None
        self._reported = heard
        return heard

    def _so_far(self) -> Heard:
        text, other = self._texts
        stable = bool(text) and text == other and self._same_frames >= _SURE_FRAMES
        return Heard(text, stable=stable, complete=stable and self._recogniser.automaton.accepts(text.split()))

    def finish(self) -> Heard:
        """The words, if both decoders vouch for them; the utterance is over. A few ms."""
        text, other = self._pair.end()
        self._recogniser.release(self._pair)
        accepts = self._recogniser.automaton.accepts
        agreement = self._recogniser.agreement(text, other) if accepts(text.split()) else 0.0
        if agreement < _AGREEMENT:
            return Heard("", agreement)
        # Where both are sentences of the dialogue the n-gram model knows which of them is said more often.
        return Heard(other if accepts(other.split()) else text, agreement, stable=True, complete=True)


def _doubled(frame: bytes) -> bytes:
    """8 kHz µ-law as 16 kHz linear. The mirror images above 4 kHz are closer to what the model knows than the silence
    that clean resampling leaves there: 54 against 62 % wrong words in free speech."""
    return audioop.tostereo(audioop.ulaw2lin(frame, 2), 2, 1, 1)  # left and right of the same sample, one by one


def _similarity(one: list[str], other: list[str]) -> float:
    """1 minus the edit distance over the longer length; 0 for two empty lists."""
    longest = max(len(one), len(other))
    if longest == 0:
        return 0.0
    row = list(range(len(other) + 1))
    for line, phone in enumerate(one, 1):
        above, row = row, [line]
        for at, candidate in enumerate(other, 1):
            row.append(min(row[-1] + 1, above[at] + 1, above[at - 1] + (phone != candidate)))
    return 1 - row[-1] / longest


# Models


def _write_model(sentences: Iterable[str], path: Path) -> set[str]:
    """Write the n-gram model of `sentences`; the words they are made of."""
    text = "\n".join(sentences)
    if not text:
        raise UnusableGrammar("it has no sentences")
    model = ArpaBoLM(text=text, add_start=True)
    model.compute()
    with path.open("w") as file:
        model.write(file)
    return set(text.split())


def _automaton(jsgf: str) -> Automaton:
    """The grammar that PocketSphinx reads in `jsgf`, made small."""
    hmm = pocketsphinx.get_model_path(_ACOUSTIC_MODEL)
    reader = pocketsphinx.Decoder(hmm=hmm, dict=None, lm=None, loglevel=_LOG_LEVEL)
    try:
        grammar = reader.parse_jsgf(jsgf)
    except (ValueError, RuntimeError) as error:
        raise UnusableGrammar(str(error)) from error
    with tempfile.NamedTemporaryFile("r") as file:
        grammar.writefile(file.name)
        ends = {}
        for line in file:
            match line.split():
                case [("START_STATE" | "FINAL_STATE") as name, state]:
                    ends[name] = int(state)
                    if len(ends) == 2:
                        break
        return smallest(ends["START_STATE"], ends["FINAL_STATE"], _transitions(file))


def _with_asides(jsgf: str) -> str:
    """The same grammar, of which an aside is a sentence, too."""
    return _PUBLIC.sub(lambda rule: f"{rule[0]} ({' | '.join(ASIDES)}) | ", jsgf, count=1)


def _transitions(lines: Iterable[str]) -> Iterator[Transition]:
    """Of PocketSphinx's own format: `TRANSITION from to probability [word]`."""
    for line in lines:
        match line.split():
            case ["TRANSITION", source, target, _, *word]:
                yield Transition(int(source), int(target), word[0] if word else None)


def _weighted(automaton: Automaton) -> list[tuple[int, int, float] | tuple[int, int, float, str]]:
    """Transitions for a decoder, those of a state equally likely; one final state beyond all others."""
    end = len(automaton.rows)
    transitions: list[tuple[int, int, float] | tuple[int, int, float, str]] = []
    for state, row in enumerate(automaton.rows):
        share = 1 / (len(row) + (state in automaton.final))
        transitions += [(state, target, share, word) for word, target in row.items()]
        if state in automaton.final:
            transitions.append((state, end, share))
    return transitions


def _pronunciations(words: Collection[str]) -> dict[str, str]:
    """Phones of `words` and of their variants (`a(2)`). Raises `UnknownWords`."""
    found = {}
    with open(pocketsphinx.get_model_path(_DICTIONARY), encoding="utf-8") as file:
        for line in file:
            word, phones = line.rstrip().split(" ", 1)
            if word.partition("(")[0] in words:
                found[word] = phones
    missing = words - found.keys()
    if missing:
        raise UnknownWords(missing)
    return found
