"""What the agent does next: the fold of a dialogue over the messages of a call.

Tasks are filled as VoiceXML fills forms (W3C, VoiceXML 2.0, section 2.1.6: the form interpretation algorithm): the
first step that is not done decides, whatever order the caller said things in. Three rules keep a caller safe from
what he did not mean:

- a yes or no counts only for a question of which he heard the essential words;
- a slot that changes undoes every confirmation after it;
- a call that was planned and cut off before it was made is not made later without a new yes.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, assert_never

import msgspec

from providers.base import AgentMessage, CallerMessage, Message, ToolResult
from providers.llm.dialogue import slots as slot_values
from providers.llm.dialogue.checks import INFORM, NO, REPEAT, YES, quoted
from providers.llm.dialogue.facts import Facts
from providers.llm.dialogue.file import DialogueFile
from providers.llm.dialogue.phrases import Slots
from providers.llm.dialogue.slots import Today
from providers.llm.dialogue.state import ConfirmAsked, Line, OfferAsked, Plan, Question, SlotAsked, State
from providers.llm.dialogue.tables import Outcome
from providers.llm.dialogue.understanding import Listener, Understanding, words_of

_NOTHING = Line()


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of one dialogue at one moment; `tools` are the names of those that exist."""

    dialogue: DialogueFile
    listener: Listener
    today: Today
    tools: frozenset[str]

    def after(self, messages: Iterable[Message]) -> State:
        """Where the dialogue stands after `messages`; what the agent owes is its `plan`."""
        start = State()
        greeting = Plan(self._line(start, self.dialogue.tables.greeting))
        return reduce(self._step, messages, replace(start, plan=greeting, heard=True))

    def call(self, state: State) -> tuple[str, dict[str, str]] | None:
        """The tool that the plan ends with, and its arguments; None if it was called already."""
        if state.plan.call is None or state.plan.call == state.calling:
            return None
        call = self.dialogue.tables.call[state.plan.call]
        values = {name: quoted(source) or state.slots.get(source) for name, source in call.arguments.items()}
        return call.tool, {name: value for name, value in values.items() if value is not None}

    def _step(self, state: State, message: Message) -> State:
        match message:
            case CallerMessage():
                return self._caller(self._unissued(state), message)
            case AgentMessage():
                return self._agent(state, message)
            case ToolResult():
                return self._result(state, message)
            case _:
                assert_never(message)

    # The agent spoke

    def _agent(self, state: State, message: AgentMessage) -> State:
        """Learn whether the plan was heard, and whether its call was made.

        Words that are not the plan's (a "hello, are you there?") leave it unheard: a yes may have been meant for them.
        """
        state = replace(state, heard=_contains(message.text, state.plan.line))
        for made in message.tool_calls:
            if state.plan.call and made.name == self.dialogue.tables.call[state.plan.call].tool:
                state = replace(state, calling=state.plan.call, call_id=made.call_id)
        return state

    def _unissued(self, state: State) -> State:
        """The caller spoke before the planned call was made: what he had confirmed is open again."""
        call = state.plan.call
        if call is None or state.calling == call or state.task is None:
            return state
        steps = self.dialogue.tables.intents[state.task].steps
        confirms = [step for step in steps[: steps.index(call)] if step in self.dialogue.tables.confirm]
        question = ConfirmAsked(confirms[-1]) if confirms else None
        plan = Plan(state.plan.line, question)
        return replace(state, done=state.done.difference(confirms), plan=plan, heard=True)

    # The caller spoke

    def _caller(self, state: State, message: CallerMessage) -> State:
        said = self._keyed(state, message.text) if message.digits else self.listener.understand(message.text)
        if said is None:
            return self._rejected(state)
        state = replace(state, misses=0)
        if said.intent in (YES, NO):
            return self._answered(state, said.intent == YES)
        if said.intent == REPEAT:
            line = state.plan.line
            return self._said(state, line, state.plan.question) if line.text else self._resumed(state)
        if said.intent == INFORM:
            return self._informed(state, said.slots)
        return self._begun(state, said.intent, self._resolved(said.slots))

    def _keyed(self, state: State, digits: str) -> Understanding | None:
        digits = digits.rstrip("#")
        question = state.plan.question
        intent = self.dialogue.tables.keys.get(digits)
        if isinstance(question, SlotAsked):
            slot = self.dialogue.tables.slots[question.slot]
            value = slot_values.keyed(slot.kind, tuple(slot.values), slot.keys, digits)
            if value is not None:
                return Understanding(INFORM, ((question.slot, value),))
        return Understanding(intent) if intent else None

    def _resolved(self, said: Slots) -> dict[str, str]:
        kinds = self.dialogue.tables.slots
        return {slot: slot_values.resolve(kinds[slot].kind, value, self.today.day) for slot, value in said}

    def _rejected(self, state: State) -> State:
        """Say so, differently each time, and ask again what was asked; in the end offer another way."""
        reject = self.dialogue.tables.reject
        state = replace(state, misses=state.misses + 1)
        if state.misses > len(reject.say):
            return self._offered(replace(state, misses=0), reject.offer)
        sorry = self._line(state, reject.say[state.misses - 1])
        idle = state.plan.question in (None, OfferAsked(self.dialogue.tables.closing))
        if state.task is None and idle and state.heard:
            return self._said(state, sorry.then(self._line(state, reject.hint)), state.plan.question)
        return self._asked_again(state, sorry)

    def _answered(self, state: State, yes: bool) -> State:
        """A yes or no: to a question that was heard, or else to nothing yet."""
        question = state.plan.question
        if not state.heard:
            return self._asked_again(state)
        match question:
            case None:
                return self._resumed(state)
            case ConfirmAsked(step) if yes:
                return self._advanced(replace(state, done=state.done | {step}))
            case ConfirmAsked(step):
                return self._refused(state, step)
            case SlotAsked() if yes:
                return self._asked_again(state)
            case SlotAsked():
                return self._finished(state, self._line(state, self.dialogue.tables.dropped))
            case OfferAsked(name):
                offer = self.dialogue.tables.offer[name]
                return self._begun(state, offer.yes if yes else offer.no, state.slots)
            case _:
                assert_never(question)

    def _refused(self, state: State, step: str) -> State:
        confirm = self.dialogue.tables.confirm[step]
        refused = self._line(state, confirm.refused)
        if not confirm.forget:
            return self._finished(state, refused)
        return self._advanced(self._without(state, confirm.forget), refused)

    def _informed(self, state: State, said: Slots) -> State:
        """Slots and nothing else: for the task in progress or on offer, or the first one that asks for them all."""
        values = self._resolved(said)
        if state.task is not None:
            return self._advanced(self._with(state, values))
        tables = self.dialogue.tables
        match state.plan.question:
            case OfferAsked(offer):
                names = [tables.offer[offer].yes, *tables.intents]
            case _:
                names = [*tables.intents]
        for name in names:
            if values.keys() <= set(tables.intents[name].steps):
                return self._begun(state, name, values)
        return self._rejected(state)

    def _begun(self, state: State, name: str, values: Mapping[str, str], lead: Line = _NOTHING) -> State:
        """An intent: answer it, give the task up, or begin its own."""
        tables = self.dialogue.tables
        intent = tables.intents[name]
        if intent.drops:
            return self._finished(state, self._line(state, tables.dropped) if state.task else lead)
        if not intent.steps:
            answer = self._facts(replace(state, slots=values)).first(intent.answers) or self._line(state, tables.failed)
            return self._aside(state, answer, intent.offer)
        absent = self._absent(intent.steps)
        if absent is not None:
            return self._aside(state, lead.then(self._line(state, absent)))
        if name != state.task:
            state = replace(state, task=name, slots={}, done=frozenset(), answers={})
        return self._advanced(self._with(state, values), lead)

    def _absent(self, steps: tuple[str, ...]) -> str | None:
        """What to say of a task that needs a tool that does not exist."""
        calls = (self.dialogue.tables.call[step] for step in steps if step in self.dialogue.tables.call)
        return next((call.absent for call in calls if call.tool not in self.tools), None)

    # A tool answered

    def _result(self, state: State, message: ToolResult) -> State:
        """Go on from the answer to the call that was made."""
        step = state.calling
        if step is None or message.call_id != state.call_id:
            return state
        call = self.dialogue.tables.call[step]
        state = replace(state, calling=None, call_id="")
        if not call.outcomes and not message.failed:
            return self._said(state, _NOTHING)
        answer = {} if message.failed else _fields(message.content)
        state = replace(state, answers={**state.answers, step: answer})
        outcome = next((outcome for outcome in call.outcomes if outcome.status == answer.get("status")), None)
        line = self._facts(state).line(outcome.say) if outcome else None
        if outcome is None or line is None:
            return self._finished(state, self._line(state, call.failed or self.dialogue.tables.failed))
        if state.task is None or step not in self.dialogue.tables.intents[state.task].steps:
            return self._resumed(state, line)
        return self._followed(state, step, outcome, line)

    def _followed(self, state: State, step: str, outcome: Outcome, line: Line) -> State:
        if outcome.forget:
            return self._advanced(self._without(state, outcome.forget), line)
        if outcome.offer:
            return self._offered(replace(state, task=None), outcome.offer, line)
        if outcome.start:
            return self._begun(state, outcome.start, state.slots, line)
        if outcome.finish:
            return self._finished(state, line)
        return self._advanced(replace(state, done=state.done | {step}), line)

    # What to say

    def _advanced(self, state: State, lead: Line = _NOTHING) -> State:
        """The first step of the task that is not done."""
        tables = self.dialogue.tables
        for step in tables.intents[state.task].steps if state.task else ():
            if step in tables.slots:
                refusal = self._facts(state).first(tables.slots[step].refuse) if step in state.slots else None
                if refusal is None and step in state.slots:
                    continue
                return self._asked(self._without(state, (step,)), SlotAsked(step), lead.then(refusal or _NOTHING))
            if step in state.done:
                continue
            if step in tables.confirm:
                return self._asked(state, ConfirmAsked(step), lead)
            return self._called(state, step, lead)
        return self._finished(state, lead)

    def _asked(self, state: State, question: Question, lead: Line = _NOTHING) -> State:
        tables = self.dialogue.tables
        match question:
            case SlotAsked(slot, attempt):
                asks = tables.slots[slot].ask
                text = asks[min(attempt, len(asks) - 1)]
            case ConfirmAsked(step):
                text = tables.confirm[step].say
            case OfferAsked(offer):
                text = tables.offer[offer].say
            case _:
                assert_never(question)
        return self._said(state, lead.then(self._line(state, text)), question)

    def _asked_again(self, state: State, lead: Line = _NOTHING) -> State:
        """What was not heard, as it was; what was heard, in other words if there are any."""
        if not state.heard:
            return self._said(state, lead.then(state.plan.line), state.plan.question)
        match state.plan.question:
            case None:
                return self._resumed(state, lead)
            case SlotAsked(slot, attempt):
                return self._asked(state, SlotAsked(slot, attempt + 1), lead)
            case question:
                return self._asked(state, question, lead)

    def _called(self, state: State, step: str, lead: Line) -> State:
        if step == state.calling:  # it is on its way: its result goes on from here
            return self._said(state, lead)
        call = self.dialogue.tables.call[step]
        state = self._said(state, lead.then(self._line(state, call.say)))
        return replace(state, task=state.task if call.outcomes else None, plan=replace(state.plan, call=step))

    def _aside(self, state: State, line: Line, offer: str = "") -> State:
        """An answer, and back to the task if there is one."""
        if state.task:
            return self._advanced(state, line)
        return self._offered(state, offer, line) if offer else self._said(state, line)

    def _resumed(self, state: State, lead: Line = _NOTHING) -> State:
        return self._advanced(state, lead) if state.task else self._offered(state, self.dialogue.tables.closing, lead)

    def _finished(self, state: State, lead: Line) -> State:
        return self._offered(replace(state, task=None), self.dialogue.tables.closing, lead)

    def _offered(self, state: State, offer: str, lead: Line = _NOTHING) -> State:
        return self._asked(state, OfferAsked(offer), lead)

    def _said(self, state: State, line: Line, question: Question | None = None) -> State:
        return replace(state, plan=Plan(line, question), heard=not line.text)

    def _line(self, state: State, text: str) -> Line:
        """`text` in full, or that something is wrong: a tool did not say what the file relies on."""
        return self._facts(state).line(text) or Line(self.dialogue.tables.failed)

    def _facts(self, state: State) -> Facts:
        return Facts(self.dialogue, self.today, state.slots, state.answers)

    # Slots

    def _with(self, state: State, values: Mapping[str, str]) -> State:
        changed = [slot for slot, value in values.items() if state.slots.get(slot) != value]
        return replace(state, slots={**state.slots, **values}, done=self._done_before(state, changed))

    def _without(self, state: State, names: Collection[str]) -> State:
        kept = {slot: value for slot, value in state.slots.items() if slot not in names}
        return replace(state, slots=kept, done=self._done_before(state, names))

    def _done_before(self, state: State, names: Collection[str]) -> frozenset[str]:
        """The steps done that do not rest on any of these slots."""
        steps = self.dialogue.tables.intents[state.task].steps if state.task else ()
        first = min((steps.index(name) for name in names if name in steps), default=len(steps))
        return state.done & set(steps[:first])


def _contains(heard: str, line: Line) -> bool:
    """Whether `heard` has the essential words of `line`, from its first one on."""
    wanted = words_of(" ".join(line.text.split()[: line.essential]))
    words = words_of(heard)
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1))


def _fields(content: str) -> Mapping[str, Any]:
    """A tool's answer; empty if it is no JSON object."""
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
