"""The ear: voice activity, words and silence joined into what the caller does with the floor.

Sans I/O. Witnesses, none of which is believed alone:

* the *voice* detector is fast and knows no words: it says that speech is likely (`SPEECH_STARTED`);
* the *recogniser* is slow and knows words: they confirm speech, and are what a turn consists of;
* *melody*, where a model for it is at hand (`telephony.turn_end`), says whether it sounds as if more were to come;
* *silence* ends things: a short one while the agent has the floor (`SPEECH_PAUSED`: find out what that was), a longer
  one while the caller has it (`TURN_ENDED`). How long is a matter of patience: less when the words are complete, more
  when they trail off or are spelled, and never less than this caller's own pauses ask for.

While the agent has the floor (`disputed`), speech counts as meant for us once it has words that are no backchannel.
Words are late, and the sound is held anyway: so speech that lasts is given `words_late_ms` beyond `sustained_ms` to be
told in words, and speech that consists of backchannels `backchannel_ms`, before its length alone decides. When it ends
it is dismissed if it was nothing but backchannels, or had no words and was shorter than `sustained_ms`. Once nothing is
left to listen to (`heard_out`) no word is a backchannel: a "yeah" on the last syllable of a question answers it.
"""

from dataclasses import dataclass
from enum import IntEnum

from app.conversation.state import Event
from providers.base import FinalTranscript, PartialTranscript

BACKCHANNELS_EN = frozenset(
    {
        *("mm", "mhm", "mm hm", "mm hmm", "mmm", "hm", "hmm", "uh huh", "uh", "um", "ah", "oh", "aha"),
        *("yeah", "yep", "yup", "okay", "ok", "right", "sure", "alright", "all right", "i see", "got it", "good"),
    }
)
"""What listeners say without wanting the floor, English; compared after `spoken_words`."""

TRAILING_EN = frozenset(
    "and or but so because the a an to at on in for with of my your is are i i'd i'm um uh er like well then".split()
)
"""Words that nobody ends a turn with, English: whoever pauses after one is not done."""

SPELLED_EN = frozenset(
    "zero oh one two three four five six seven eight nine double triple dash dot at hyphen underscore".split()
)
"""Words of which numbers and addresses are spelled, English; single letters count too."""


class Hint(IntEnum):
    """What speaks for the caller being done, before anybody can know; the more, the higher."""

    NOTHING = 0
    STABLE = 1  # the recogniser would bet on the words, but he still talks
    PAUSE = 2  # and he pauses
    COMPLETE = 3  # the vendor, or the grammar, takes the turn for complete


@dataclass(frozen=True, slots=True)
class EarSettings:
    """How the ear judges. Probabilities 0..1, times in milliseconds."""

    voice_on: float = 0.5
    voice_off: float = 0.35
    onset_ms: float = 60.0
    """Voice this long is likely speech: two runs of the detector."""
    sustained_ms: float = 600.0
    """Voice this long is meant for us, even if the recogniser makes nothing of it."""
    words_late_ms: float = 300.0
    """How far the recogniser's words are behind the voice: it may still be a backchannel."""
    backchannel_ms: float = 1500.0
    """Voice this long is meant for us, even if the recogniser takes it for a backchannel."""
    early_ms: float = 60.0
    """Quiet in which a reply may be begun, in case the turn is over."""
    quiet_db: float = 20.0
    """So far below the loudest of a turn it is quiet, whatever the voice detector still hears: it is 100 ms late."""
    pause_ms: float = 150.0
    """Silence after disputed speech that makes us ask what it was."""
    endpoint_ms: float = 500.0
    """Silence that ends a turn, if nothing speaks for more or less."""
    complete_ms: float = 300.0
    """The same when the words make a complete turn."""
    trailing_ms: float = 1200.0
    """The same when the words clearly go on: "and...", "um"."""
    spelling_ms: float = 1000.0
    """The same while the caller gives digits or spells."""
    sounds_done_ms: float = 420.0
    """The same when the turn sounds as if it were complete."""
    sounds_done: float = 0.9
    """Probability from which it does: of human turns 73 % do, of pauses in mid-sentence 13 % (`benchmarks turns`)."""
    sounds_open: float = 0.3
    """Probability below which it sounds as if more were to come: 4 % and 63 %. It is waited for like trailing words."""
    slowest_ms: float = 1500.0
    """The most that a caller's own way of pausing may add up to."""
    backchannels: frozenset[str] = BACKCHANNELS_EN
    trailing: frozenset[str] = TRAILING_EN
    spelled: frozenset[str] = SPELLED_EN


def spoken_words(text: str) -> str:
    """Lower case, words only, one space between: how transcripts are compared."""
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    return " ".join(kept.split())


_SHORTEST_PAUSE_MS = 150.0
"""Silence inside a word or between syllables is no pause."""
_LEARNING = 0.4
"""Weight of the latest pause; a call has few."""
_DETECTOR_S = 0.032
"""What one verdict of the voice detector covers."""


class Ear:
    """One call's ear. Methods take what a witness says and return what follows from it, in order.

    `disputed` on each call: the agent has, or is about to have, the floor.
    """

    def __init__(self, settings: EarSettings | None = None) -> None:
        self._settings = settings or EarSettings()
        self._voiced = False
        self._usual_pause_ms = 0.0
        self._onset_at: float | None
        self._sustained_from: float | None  # voice since then, without a pause long enough to be told
        self.began_at: float | None
        """When the present speech began; None while there is none."""
        self.last_voice_at: float | None = None
        """When voice was last heard."""
        self._forget_turn()

    def _forget_turn(self) -> None:
        self.began_at = self._onset_at = self._sustained_from = None
        self._voice_ms = 0.0  # how long it has lasted, or had when it paused
        self._confirmed = False
        self._pause_told = False
        self._end_told = False
        self._sounds_done: float | None = None  # probability, of the silence that is going on
        self._loudest_dbfs = -100.0
        self._loud_at: float | None = None
        self._finals: list[str] = []
        self._partial = PartialTranscript("")

    @property
    def speaking(self) -> bool:
        """Voice is heard right now."""
        return self._voiced

    @property
    def words(self) -> str:
        """What the present turn consists of so far: finals, then the partial."""
        return " ".join(filter(None, (*self._finals, self._partial.text)))

    @property
    def unfinished(self) -> str:
        """Words of the last partial, which no final has confirmed."""
        return self._partial.text

    @property
    def complete(self) -> bool:
        """By the last partial the turn is complete."""
        return self._partial.complete

    def take_words(self) -> str:
        """The turn is over: its words, and a clean ear for the next."""
        words = self.words
        self._forget_turn()
        return words

    # witnesses

    def voice(self, probability: float, now: float, *, disputed: bool, level_dbfs: float | None = None) -> list[Event]:
        """The voice detector's verdict on the 32 ms up to `now`, and their level."""
        settings = self._settings
        if level_dbfs is not None:
            self._loudest_dbfs = max(self._loudest_dbfs, level_dbfs)
            if level_dbfs > self._loudest_dbfs - settings.quiet_db:
                self._loud_at = now
        if probability >= (settings.voice_off if self._voiced else settings.voice_on):
            return self._voice_heard(now, disputed)
        self._voiced = False
        self._onset_at = None
        return self._silence(now, disputed)

    def judged(self, done: float) -> None:
        """By its melody the turn that has paused is complete with this probability; forgotten when voice goes on."""
        if not self._voiced:
            self._sounds_done = done

    def partial(self, partial: PartialTranscript, now: float, *, disputed: bool) -> list[Event]:
        """The recogniser's present reading of the turn."""
        changed = (partial.text, partial.stable) != (self._partial.text, self._partial.stable)
        self._partial = partial
        if not (partial.stable and partial.text and changed):
            return []
        if disputed and (self._may_be_backchannel(self.words) or len(self.words.split()) == 1):
            return []  # one word alone may be a cough, taken for one: when it pauses, the recogniser is asked
        return self._confirm(now)

    def final(self, final: FinalTranscript, now: float, *, disputed: bool, heard_out: bool = False) -> list[Event]:
        """Words that stay. Only the answer to a `finalize`, or a turn's end, closes a turn, if no voice contradicts.
        `heard_out`: of what the agent says nothing is left to listen to."""
        if final.text:
            self._finals.append(final.text)
        self._partial = PartialTranscript("")
        if not (final.finalized or (final.ends_turn and not self._voiced)):
            return self._confirm(now) if final.text and not disputed else []
        if self._voiced and not disputed and self._confirmed:  # he talks again: the turn goes on, with these words
            return []
        if disputed and not self._confirmed:
            return self._settle(final, now, heard_out=heard_out)
        if self.words:
            return [Event.TURN_UNDERSTOOD]
        sustained = self._confirmed
        self._forget_turn()
        return [Event.TURN_UNINTELLIGIBLE if sustained else Event.SPEECH_DISMISSED]

    # judgement

    def _settle(self, final: FinalTranscript, now: float, *, heard_out: bool) -> list[Event]:
        """What the disputed speech was, now that its words are known."""
        long = self._voice_ms >= self._settings.sustained_ms
        answers = heard_out and bool(spoken_words(self.words))
        meant = not self._is_backchannel(self.words) if self.words else long
        if meant or answers:
            confirmed = self._confirm(now)
            return [*confirmed, Event.TURN_UNDERSTOOD] if final.ends_turn else confirmed
        if self._voiced:  # he talks again: words from before the pause dismiss nothing
            self._finals.clear()
            return []
        self._forget_turn()
        return [Event.SPEECH_DISMISSED]

    def _voice_heard(self, now: float, disputed: bool) -> list[Event]:
        if self._onset_at is None:
            self._onset_at = now - _DETECTOR_S
        events: list[Event] = []
        if not self._voiced and (now - self._onset_at) * 1000 >= self._settings.onset_ms:
            self._voiced = True  # before that it may be a click, which must not stretch a turn
            self._sounds_done = None
            self._learn_pause(self._onset_at)
        if self._voiced:
            self.last_voice_at = now
            if self.began_at is None:
                self.began_at = self._onset_at
                events.append(Event.SPEECH_STARTED)
            if self._sustained_from is None or self._pause_told:
                self._sustained_from = self._onset_at
            self._pause_told = self._end_told = False
            self._voice_ms = (now - self._sustained_from) * 1000
            if self._voice_ms >= self._settings.sustained_ms and self._voice_ms >= self._long_ms(disputed):
                events += self._confirm(now)
        return events

    def _long_ms(self, disputed: bool) -> float:
        """Voice so long needs no words to be speech."""
        settings = self._settings
        if not disputed:
            return settings.sustained_ms
        if self.words and self._may_be_backchannel(self.words):
            return settings.backchannel_ms
        return settings.sustained_ms + settings.words_late_ms

    def _silence(self, now: float, disputed: bool) -> list[Event]:
        if self.began_at is None or self.last_voice_at is None:
            return []
        silent_ms = (now - self.last_voice_at) * 1000
        if disputed and not self._confirmed:
            if silent_ms >= self._settings.pause_ms and not self._pause_told:
                self._pause_told = True
                return [Event.SPEECH_PAUSED]
            return []
        if not self._end_told and silent_ms >= self.patience_ms():
            self._end_told = True
            return [Event.TURN_ENDED]
        return []

    def hint(self, now: float) -> Hint:
        """Whether the caller may be done with `words`."""
        words = self.words.rsplit(None, 1)
        if not words or spoken_words(words[-1]) in self._settings.trailing:
            return Hint.NOTHING
        if self._partial.complete:
            return Hint.COMPLETE
        if self._partial.text and not self._partial.stable:
            return Hint.NOTHING
        loud_at = self.last_voice_at if self._loud_at is None else self._loud_at
        quiet_s = 0.0 if loud_at is None else now - loud_at
        return Hint.PAUSE if quiet_s * 1000 >= self._settings.early_ms else Hint.STABLE

    def patience_ms(self) -> float:
        """Silence, in ms, that ends the present turn."""
        settings = self._settings
        spoken = spoken_words(self.words).split()
        if self._partial.complete:
            return settings.complete_ms
        if spoken and spoken[-1] in settings.trailing:
            return settings.trailing_ms
        if len(spoken) > 1 and all(len(word) == 1 or word in settings.spelled for word in spoken[-2:]):
            return settings.spelling_ms
        if self._sounds_done is not None and self._sounds_done >= settings.sounds_done:
            return settings.sounds_done_ms
        if self._sounds_done is not None and self._sounds_done < settings.sounds_open:
            return settings.trailing_ms
        return max(settings.endpoint_ms, min(1.5 * self._usual_pause_ms, settings.slowest_ms))

    def _learn_pause(self, resumed_at: float) -> None:
        """The caller speaks on after a pause inside a turn: this is how he pauses."""
        if self.began_at is None or self.last_voice_at is None:
            return
        pause_ms = (resumed_at - self.last_voice_at) * 1000
        if _SHORTEST_PAUSE_MS < pause_ms < self._settings.slowest_ms:
            self._usual_pause_ms += _LEARNING * (pause_ms - self._usual_pause_ms)

    def _confirm(self, now: float) -> list[Event]:
        if self.began_at is None:  # words without voice: the detector missed a faint voice
            self.began_at = self.last_voice_at = now
        if self._confirmed:
            return []
        self._confirmed = True
        return [Event.SPEECH_CONFIRMED]

    def _is_backchannel(self, text: str) -> bool:
        """Nothing but backchannels, one or several ("okay yeah"); silence too."""
        return not self._beyond_backchannels(text)

    def _may_be_backchannel(self, text: str) -> bool:
        """The same, or it may become so by the next word: the "I" of "I see"."""
        rest = self._beyond_backchannels(text)
        return not rest or any(known.startswith(f"{rest} ") for known in self._settings.backchannels)

    def _beyond_backchannels(self, text: str) -> str:
        """What is left of it behind the backchannels that it begins with."""
        rest = spoken_words(text)
        while rest:
            heads = (" ".join(rest.split()[:n]) for n in (2, 1))
            head = next((h for h in heads if h in self._settings.backchannels), None)
            if head is None:
                break
            rest = rest[len(head) :].strip()
        return rest
