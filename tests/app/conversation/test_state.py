"""The state machine is total over the outside world, strict with ourselves, and never a trap."""

from pathlib import Path

import pytest

from app.conversation.state import (
    FLOORS,
    INSIDE,
    PHASES,
    Action,
    CallState,
    Event,
    Floor,
    ImpossibleTransition,
    Phase,
    diagram,
    step,
)

STATES = [CallState(phase, floor) for phase in Phase for floor in Floor]
OUTSIDE = [event for event in Event if event not in INSIDE]
DOCUMENT = Path(__file__).parents[3] / "docs" / "states.md"


def after(state: CallState, *events: Event) -> CallState:
    for event in events:
        state, _ = step(state, event)
    return state


def reachable() -> dict[CallState, set[CallState]]:
    """Every state that a call can come into, and where one event leads from it."""
    edges: dict[CallState, set[CallState]] = {}
    waiting = [CallState(), CallState(Phase.RINGING)]
    while waiting:
        state = waiting.pop()
        if state not in edges:
            edges[state] = {step(state, event)[0] for event in Event if possible(state, event)}
            waiting += edges[state]
    return edges


def possible(state: CallState, event: Event) -> bool:
    return event not in INSIDE or state.phase is not Phase.LIVE or event in FLOORS[state.floor]


@pytest.mark.parametrize("state", STATES, ids=str)
@pytest.mark.parametrize("event", OUTSIDE, ids=lambda event: event.name)
def test_whatever_the_world_does_in_any_state_has_an_answer(state: CallState, event: Event) -> None:
    following, actions = step(state, event)
    assert following in STATES
    assert following is not state or not actions  # ignored means nothing is done


@pytest.mark.parametrize("event", sorted(INSIDE, key=lambda event: event.name), ids=lambda event: event.name)
@pytest.mark.parametrize("floor", Floor)
def test_a_replys_own_event_where_no_reply_can_be_is_a_bug(event: Event, floor: Floor) -> None:
    state = CallState(Phase.LIVE, floor)
    if event in FLOORS[floor]:
        assert step(state, event)[0].floor is FLOORS[floor][event].floor
    else:
        with pytest.raises(ImpossibleTransition, match=f"{event.name} while {floor.name}"):
            step(state, event)


def test_a_reply_that_ends_while_the_call_is_suspended_is_no_bug() -> None:
    for event in INSIDE:
        state = CallState(Phase.SUSPENDED, Floor.THINKING)
        assert step(state, event) == (state, ())


def test_only_a_reply_in_progress_reports() -> None:
    with_replies = {floor for floor, row in FLOORS.items() if INSIDE & row.keys()}
    assert with_replies == {Floor.THINKING, Floor.SPEAKING}


@pytest.mark.parametrize("floor", Floor)
@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
def test_nothing_leaves_the_end(floor: Floor, event: Event) -> None:
    ended = CallState(Phase.ENDED, floor)
    assert step(ended, event) == (ended, ())


@pytest.mark.parametrize(
    ("phases", "goal"),
    [
        (set(Phase), {CallState(Phase.ENDED, floor) for floor in Floor}),
        (set(Phase) - {Phase.ENDING, Phase.ENDED}, {CallState(Phase.LIVE, Floor.LISTENING)}),
    ],
    ids=["the end", "listening"],
)
def test_no_state_is_a_trap(phases: set[Phase], goal: set[CallState]) -> None:
    edges = reachable()
    arriving = set(goal)
    while more := {state for state in edges if edges[state] & arriving} - arriving:
        arriving |= more
    assert not {state for state in edges if state.phase in phases} - arriving


def test_every_floor_is_reached_in_a_live_call() -> None:
    assert {state.floor for state in reachable() if state.phase is Phase.LIVE} == set(Floor)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.LIVE, Phase.ENDED)])
def test_every_phase_but_the_live_one_ends_by_its_own_deadline(phase: Phase) -> None:
    following, actions = step(CallState(phase), Event.PHASE_EXPIRED)
    assert following.phase is Phase.ENDED
    assert actions == (Action.FINISH,)


@pytest.mark.parametrize("floor", Floor)
def test_every_floor_has_an_exit_by_its_own_deadline(floor: Floor) -> None:
    following, actions = step(CallState(Phase.LIVE, floor), Event.FLOOR_EXPIRED)
    assert actions
    assert following.floor in (Floor.THINKING, Floor.SPEAKING)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.ENDED])
def test_a_caller_who_is_gone_ends_the_call_in_every_phase(phase: Phase) -> None:
    assert step(CallState(phase), Event.CALLER_GONE)[0].phase is Phase.ENDED


def held_after(held: bool, floor: Floor, actions: tuple[Action, ...]) -> bool:
    """Whether the sound is held after these actions; asserts that a reply is only committed out of a hold."""
    for action in actions:
        match action:
            case Action.HOLD | Action.SUSPEND | Action.PAUSE:
                held = True
            case Action.REATTACH:
                held = floor is not Floor.SPEAKING
            case Action.COMMIT:
                assert held
                held = False
            case Action.CANCEL_REPLY | Action.RESUME | Action.CLOSE_LEG | Action.FINISH | Action.HAND_OVER:
                held = False
            case _:
                pass
    return held


def test_a_disputed_floor_is_silent_and_a_speaking_one_is_not_held_on_every_path() -> None:
    known: set[tuple[CallState, bool]] = set()
    waiting = [(CallState(), False)]
    while waiting:
        state, held = waiting.pop()
        if (state, held) in known:
            continue
        known.add((state, held))
        if state.phase is Phase.LIVE and state.floor is Floor.INTERRUPTED:
            assert held
        if state.phase is Phase.LIVE and state.floor is Floor.SPEAKING:
            assert not held
        for event in Event:
            if possible(state, event) and not (held and event in (Event.REPLY_STARTED, Event.REPLY_FINISHED)):
                following, actions = step(state, event)
                waiting.append((following, held_after(held, following.floor, actions)))
    assert {held for state, held in known if state == live(Floor.THINKING)} == {True, False}


def live(floor: Floor) -> CallState:
    return CallState(Phase.LIVE, floor)


def test_a_turn_goes_round() -> None:
    state = after(CallState(), Event.LEG_ATTACHED, Event.REPLY_STARTED, Event.REPLY_FINISHED)
    assert state == live(Floor.LISTENING)
    state = after(state, Event.SPEECH_STARTED, Event.TURN_ENDED, Event.TURN_UNDERSTOOD)
    assert state == live(Floor.THINKING)


def test_an_interruption_is_held_first_and_then_committed_or_resumed() -> None:
    held, actions = step(live(Floor.SPEAKING), Event.SPEECH_STARTED)
    assert (held.floor, actions) == (Floor.INTERRUPTED, (Action.HOLD,))
    assert step(held, Event.SPEECH_CONFIRMED) == (live(Floor.PROCESSING_SPEECH), (Action.COMMIT,))
    assert step(held, Event.SPEECH_DISMISSED) == (live(Floor.SPEAKING), (Action.RESUME,))


def test_a_backchannel_never_cancels_a_reply() -> None:
    for floor in (Floor.SPEAKING, Floor.THINKING):
        state, done = live(floor), []
        for event in (Event.SPEECH_STARTED, Event.SPEECH_PAUSED, Event.SPEECH_DISMISSED):
            state, actions = step(state, event)
            done += actions
        assert state == live(floor)
        assert not {Action.COMMIT, Action.CANCEL_REPLY} & set(done)


def test_stop_close_and_status_in_any_order_end_the_call_once() -> None:
    endings = (Event.END_REQUESTED, Event.LEG_LOST, Event.CALLER_GONE)
    for first in endings:
        for second in endings:
            for third in endings:
                state, finishes = live(Floor.SPEAKING), 0
                for event in (first, second, third, Event.CALLER_GONE):
                    state, actions = step(state, event)
                    finishes += actions.count(Action.FINISH)
                assert state.phase is Phase.ENDED
                assert finishes == 1


def test_the_tables_know_every_state() -> None:
    assert set(PHASES) == set(Phase)
    assert set(FLOORS) == set(Floor)


def test_the_diagram_in_the_docs_is_drawn_from_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    drawn = text.partition("```mermaid\n")[2].partition("```")[0]
    assert drawn == diagram(), "draw it anew: put the output of app.conversation.state.diagram() into docs/states.md"


@pytest.mark.parametrize(
    ("floor", "event", "following"),
    [
        (Floor.SPEAKING, Event.SPEECH_PAUSED, Floor.SPEAKING),
        (Floor.SPEAKING, Event.TURN_ENDED, Floor.SPEAKING),
        (Floor.LISTENING, Event.TURN_ENDED, Floor.PROCESSING_SPEECH),
    ],
)
def test_speech_that_a_reply_started_over_is_asked_about_when_it_ends(
    floor: Floor, event: Event, following: Floor
) -> None:
    assert step(live(floor), event) == (live(following), (Action.FINALIZE,))
