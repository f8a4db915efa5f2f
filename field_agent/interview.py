"""An interview in the terminal: one question at a time, back and forth, left and taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from field_agent.register import asks, name_of
from forms import Unfinished

if TYPE_CHECKING:
    from collections.abc import Callable

    from field_agent.register import Interview
    from field_agent.store import Finished
    from forms import State

HELP = (
    "  <  the question before    >  skip, or keep the answer    -  empty the answer\n"
    "  =  leave; all answers are kept    :fr  another language    ?  this help"
)
_LONG = 20


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where questions go and answers come from. `ask` raises EOFError where the person is gone."""

    ask: Callable[[str], str]
    say: Callable[[str], None]


class _Left(Exception):
    """The person leaves; all is kept."""


def hold(interview: Interview, terminal: Terminal) -> Finished | None:
    """Ask until the entry is finished (then it is sealed) or the person leaves (None)."""
    terminal.say(f"{interview.form.title}   (? for help)")
    if len(interview.form.languages) > 1:
        terminal.say(
            "Languages: " + ", ".join(f":{_short(one)}" for one in interview.form.languages)
        )
    try:
        return _walk(interview, terminal)
    except (_Left, EOFError, KeyboardInterrupt):
        interview.put_aside()
        terminal.say(
            f"\nKept as it is. Go on with: field-agent register --resume {interview.draft[:8]}"
        )
        return None


def _walk(interview: Interview, terminal: Terminal) -> Finished:
    passed = _passed(interview)
    notes: set[str] = set()
    at: str | None = None
    while True:
        state = _next(interview, terminal, at, notes, set(passed))
        if state is None:
            interview.shown("end screen")
            try:
                _confirm(terminal)
                return interview.finish()
            except _Back:
                at = passed.pop() if passed else None
                continue
            except Unfinished as error:
                first = error.faults[0]
                terminal.say(f"Not finished yet. {name_of(first.ref)}: {first.reason}")
                passed = [one for one in passed if one != first.ref]
                at = first.ref
                continue
        try:
            _ask(interview, terminal, state)
        except _Back:
            if passed:
                at = passed.pop()
            else:
                at = None
                terminal.say("This is the first question.")
            continue
        except _Again:
            at = state.ref if state.kind != "repeat" else None
            continue
        except _Enough:
            passed.append(f"{state.ref}[]")
            at = None
            continue
        if state.ref not in passed:
            passed.append(state.ref)
        at = None


class _Back(Exception):
    """To the question before."""


class _Again(Exception):
    """The same question once more."""


def _passed(interview: Interview) -> list[str]:
    """Where a resumed entry goes on: behind the answers that were given before it was left."""
    refs: list[str] = []
    given = 0
    for state in interview.questions():
        refs.append(state.ref)
        if state.value:
            given = len(refs)
    return refs[:given]


def _next(
    interview: Interview,
    terminal: Terminal,
    at: str | None,
    notes: set[str],
    passed: set[str],
) -> State | None:
    """The question at `at`, else the first not yet passed; what stands before it is read out."""
    waiting: list[State] = []
    for state in interview.entry.walk():
        if at is not None:
            if state.ref == at and asks(state):
                return state
            continue
        # Whether there is one more is asked once the ones that are there have been filled in.
        while waiting and not state.ref.startswith(waiting[-1].ref + "["):
            over = waiting.pop()
            if f"{over.ref}[]" not in passed:
                return over
        if state.kind == "repeat":
            if state.parameters.get("fixed") != "true":
                waiting.append(state)
        elif not asks(state):
            _read_out(terminal, state, notes)
        elif state.ref not in passed:
            return state
    if at is not None:
        return _next(interview, terminal, None, notes, passed)
    return next((one for one in reversed(waiting) if f"{one.ref}[]" not in passed), None)


def _read_out(terminal: Terminal, state: State, notes: set[str]) -> None:
    mark = f"{state.ref} {state.label}"
    if state.label and mark not in notes:
        notes.add(mark)
        titled = state.kind in {"group", "instance"}
        terminal.say(f"\n== {state.label} ==" if titled else f"\n{state.label}")


def _ask(interview: Interview, terminal: Terminal, state: State) -> None:
    if state.kind == "repeat":
        interview.left()
        _ask_repeat(interview, terminal, state)
        return
    interview.shown("question", state.ref)
    lines = ["", f"{state.label or name_of(state.ref)}{' *' if state.required else ''}"]
    if state.hint:
        lines.append(f"  {state.hint}")
    if len(state.choices) <= _LONG:
        lines += [f"  {number}. {one.label}" for number, one in enumerate(state.choices, 1)]
    else:
        lines.append(f"  {len(state.choices)} choices: type a part of a name, or its number")
    terminal.say("\n".join(lines))
    said = _listen(interview, terminal, f"[{_shown(state)}] > " if state.value else "> ")
    if said == ">" or (said == "" and (state.value or not state.required)):
        return
    if said == "":
        terminal.say(state.required_message or "This question needs an answer.")
        raise _Again
    if said == "-":
        if state.kind == "upload" and state.value:
            interview.detach(state.ref)
        else:
            interview.answer(state.ref, "")
        return
    if state.kind == "upload":
        _attach(interview, terminal, state, said)
        return
    value = _chosen(terminal, state, said) if state.choices else _typed(state, said)
    before = state.value
    changed = interview.answer(state.ref, value)
    if changed.fault is not None:
        terminal.say(changed.fault.reason)
        interview.answer(state.ref, before)
        raise _Again
    if not interview.entry.state(state.ref).value:
        terminal.say(f"{said!r} is no {state.type}.")
        interview.answer(state.ref, before)
        raise _Again


def _listen(interview: Interview, terminal: Terminal, prompt: str) -> str:
    said = terminal.ask(prompt).strip()
    if said == "<":
        raise _Back
    if said == "=":
        raise _Left
    if said == "?":
        terminal.say(HELP)
        raise _Again
    if said.startswith(":"):
        wanted = said[1:].strip().lower()
        for one in interview.form.languages:
            if wanted in {one.lower(), _short(one)}:
                interview.set_language(one)
                break
        else:
            known = ", ".join(_short(one) for one in interview.form.languages)
            terminal.say(f"This form speaks: {known}")
        raise _Again
    return said


def _short(language: str) -> str:
    """`fr` of `Français (fr)`."""
    return language.rpartition("(")[2].rstrip(")").lower() if "(" in language else language.lower()


def _shown(state: State) -> str:
    labels = {one.value: one.label for one in state.choices}
    if state.kind in {"select", "rank"}:
        return ", ".join(labels.get(one, one) for one in state.chosen)
    return labels.get(state.value, state.value)


def _typed(state: State, said: str) -> str:
    if state.type in {"int", "decimal"}:
        # A person types 1,5 in many languages.
        return said.replace(",", ".") if said.count(",") == 1 and "." not in said else said
    if state.kind == "trigger":
        return "OK"
    return said


def _chosen(terminal: Terminal, state: State, said: str) -> str:
    several = state.kind in {"select", "rank"}
    parts = said.replace(",", " ").split() if several else [said]
    values = []
    for part in parts:
        found = _find(state, part)
        if len(found) != 1:
            if found:
                terminal.say("\n".join(f"  {number}. {label}" for number, label in found[:_LONG]))
                terminal.say("Which of these? Type its number.")
            else:
                terminal.say(f"No choice is called {part!r}.")
            raise _Again
        values.append(state.choices[found[0][0] - 1].value)
    return " ".join(dict.fromkeys(values))


def _find(state: State, said: str) -> list[tuple[int, str]]:
    numbered = [(number, one.label) for number, one in enumerate(state.choices, 1)]
    if said.isdigit() and 1 <= int(said) <= len(numbered):
        return [numbered[int(said) - 1]]
    words = said.casefold()
    exact = [
        (number, one.label)
        for number, one in enumerate(state.choices, 1)
        if words in {one.label.casefold(), one.value.casefold()}
    ]
    return exact or [one for one in numbered if words in one[1].casefold()]


def _attach(interview: Interview, terminal: Terminal, state: State, said: str) -> None:
    try:
        with Path(said).expanduser().open("rb") as file:
            interview.attach(state.ref, said, iter(lambda: file.read(65_536), b""))
    except OSError as error:
        terminal.say(f"{said} cannot be read ({error.strerror}).")
        raise _Again from error


def _ask_repeat(interview: Interview, terminal: Terminal, state: State) -> None:
    """One more instance, or on: the person says when it is enough."""
    count = int(state.parameters.get("count", "0"))
    what = state.label or name_of(state.ref)
    said = _listen(interview, terminal, f"\n{what}: {count} so far. Another one? [y/N] ")
    if said.casefold() in {"y", "yes", "o", "oui", "نعم"}:
        interview.add_repeat(state.ref)
        # Its questions come next; then this is asked again.
        raise _Again
    raise _Enough


class _Enough(Exception):
    """No more instances of this repeat."""


def _confirm(terminal: Terminal) -> None:
    said = terminal.ask("\nAll is answered. Finish and seal? [Y/n, < back] ").strip()
    if said == "<":
        raise _Back
    if said.casefold() in {"n", "no", "non", "="}:
        raise _Left
