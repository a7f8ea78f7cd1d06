"""A caller's script: what he says and does, in order, and what is expected of the agent. A readable TOML file.

    title = "Opening hours"
    finished_after_ms = 700       # silence after which the caller takes the agent to have finished

    [[step]]
    listen = true                 # until the agent has finished speaking
    begins_within_ms = 2000

    [[step]]
    say = "What are your opening hours?"     # a committed recording, by its words, or a .wav file beside the script
    answer_within_ms = 1500
    understood = ["opening", "hours"]        # words in the bridge's transcript of this turn

    [[step]]
    say = "stop"
    interrupt_after_ms = 800      # into the agent's speech
    stop_within_ms = 500

    [[step]]
    say = "cough.wav"             # a sound that is none of the agent's business, or "mm-hm"
    interrupt_after_ms = 800
    goes_on_within_ms = 1000      # the agent is heard again so soon after it

    [[step]]
    press = "12#"

    [[step]]
    wait_ms = 500

    [[step]]
    await_hang_up = true          # or: hang_up = true

    [expect]
    answers = 2
    gaps_at_most = 0

    [network]
    delay_ms = 40

    [[network.stalls]]
    at_s = 3.0
    for_ms = 400

    [echo]                        # the caller's handset lets him hear himself, and the agent too
    level_db = -20
    delay_ms = 180

and, before the first table, `faults = ["no_stop"]` (see `telephony.simulator.faults`).
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from telephony.simulator.errors import ScriptRejected, SoundRejected
from telephony.simulator.faults import Fault, Network
from telephony.simulator.voice import Utterance, utterance

BUILT_IN = Path(__file__).parent / "scripts"
DIGITS = frozenset("0123456789*#ABCD")


class Say(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Say something; with `interrupt_after_ms`, so long into what the agent is saying."""

    say: str
    interrupt_after_ms: float | None = None
    at_most_ms: float = 10_000
    """How long to wait for the agent's speech that is to be interrupted."""
    stop_within_ms: float | None = None
    goes_on_within_ms: float | None = None
    """It was a cough or a backchannel: the agent is still heard, or again, so soon after its end."""
    answer_within_ms: float | None = None
    understood: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wait until the agent has spoken and fallen silent; `at_most_ms` bounds the wait for its first sound."""

    listen: bool = True
    at_most_ms: float = 10_000
    begins_within_ms: float | None = None
    """Expected from the beginning of this step."""
    finished_after_ms: float | None = None


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wait_ms: float


class Press(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    press: str


class HangUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hang_up: bool = True


class AwaitHangUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent is expected to end the call, at the latest `at_most_ms` from now."""

    await_hang_up: bool = True
    at_most_ms: float = 15_000


Step = Say | Listen | Wait | Press | HangUp | AwaitHangUp
_STEPS: Mapping[str, type[Step]] = {
    "say": Say,
    "listen": Listen,
    "wait_ms": Wait,
    "press": Press,
    "hang_up": HangUp,
    "await_hang_up": AwaitHangUp,
}


class Echo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The far end's handset or line returns what it plays."""

    level_db: Annotated[float, msgspec.Meta(ge=-80, le=0)]
    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)]


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected of the call as a whole; None: nothing."""

    answers: int | None = None
    """How many of the caller's utterances are answered."""
    gaps_at_most: int | None = None
    answer_p90_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can be performed: every sound it needs is loaded."""

    title: str
    steps: tuple[Step, ...]
    utterances: Mapping[str, Utterance]
    """By the `say` of the steps."""
    finished_after_ms: float = 700
    noise_dbfs: float | None = None
    """Level of the comfort noise while the caller is quiet; None for digital silence."""
    expect: Expected = field(default_factory=Expected)
    faults: frozenset[Fault] = frozenset()
    network: Network = field(default_factory=Network)
    echo: Echo | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    step: list[dict[str, Any]]
    finished_after_ms: float = 700
    noise_dbfs: float | None = None
    expect: Expected = msgspec.field(default_factory=Expected)
    faults: frozenset[Fault] = frozenset()
    network: Network = msgspec.field(default_factory=Network)
    echo: Echo | None = None


def built_in_scripts() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in BUILT_IN.glob("*.toml")))


def load_script(name_or_path: str) -> Script:
    """A built-in script by its name, or a file. Raises `ScriptRejected`."""
    if name_or_path in built_in_scripts():
        return load_script(str(BUILT_IN / f"{name_or_path}.toml"))
    path = Path(name_or_path)
    try:
        return read_script(path.read_text(), path.parent)
    except OSError as error:
        known = ", ".join(built_in_scripts())
        raise ScriptRejected(f"{path}: {error.strerror}; built in are: {known}") from error
    except ScriptRejected as error:
        raise ScriptRejected(f"{path}: {error}") from error


def read_script(text: str, folder: Path) -> Script:
    """The script in `text`; its .wav files are found in `folder`. Raises `ScriptRejected`."""
    try:
        content = msgspec.convert(tomllib.loads(text), _File)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScriptRejected(str(error)) from error
    steps = tuple(_step(number, table) for number, table in enumerate(content.step, 1))
    return Script(
        content.title,
        steps,
        _load_utterances(steps, folder),
        content.finished_after_ms,
        content.noise_dbfs,
        content.expect,
        content.faults,
        content.network,
        content.echo,
    )


def script_of_files(paths: Sequence[Path]) -> Script:
    """Say each file in turn, hearing the agent out before and after each."""
    folder = Path()
    steps: list[Step] = [Listen()]
    for path in paths:
        steps += [Say(say=str(path)), Listen()]
    steps.append(HangUp())
    return Script(f"say {len(paths)} file(s)", tuple(steps), _load_utterances(steps, folder))


def _step(number: int, table: dict[str, Any]) -> Step:
    verbs = [name for name in _STEPS if name in table]
    if len(verbs) != 1:
        raise ScriptRejected(f"step {number}: exactly one of {', '.join(_STEPS)} is wanted, not {verbs or 'none'}")
    try:
        step = msgspec.convert(table, _STEPS[verbs[0]])
    except msgspec.ValidationError as error:
        raise ScriptRejected(f"step {number}: {error}") from error
    if isinstance(step, Press) and not (step.press and DIGITS.issuperset(step.press)):
        raise ScriptRejected(f"step {number}: press {step.press!r}: keys are 0-9, *, # and A-D")
    return step


def _load_utterances(steps: Sequence[Step], folder: Path) -> dict[str, Utterance]:
    try:
        return {step.say: utterance(step.say, folder) for step in steps if isinstance(step, Say)}
    except SoundRejected as error:
        raise ScriptRejected(str(error)) from error
