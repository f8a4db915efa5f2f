"""An interview on this device: each answer is on the disk before the next is asked for."""

from __future__ import annotations

import json
import mimetypes
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from field_agent.area import dataset_csv, dots_seen, pulled
from field_agent.auditing import Book
from field_agent.trouble import Missing
from forms import Context, Entry, Fault, Form, NoSuchNode, Unfinished
from forms.audit import FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime, tzinfo

    from field_agent.store import Draft, Finished, Store
    from field_agent.store import Form as StoredForm
    from forms import Changed, State

SAVED = "entry"
LANGUAGE = "language"
ASKS_NOTHING = frozenset({"group", "repeat", "instance", "node"})
_POSITION = re.compile(r"([^/\[\]]+)(?:\[(\d+)\])?")


class RefusedAnswer(Exception):
    """An answer cannot be taken, or one is missing: `question` by its name, and why."""

    def __init__(self, question: str, reason: str) -> None:
        self.question = question
        self.reason = reason
        super().__init__(f"{question}: {reason}")


class NoSuchQuestion(Exception):
    """The answers name questions that the form does not have; nothing was begun."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What an interview works with: the store, and where time, ids and luck come from."""

    store: Store
    now: Callable[[], datetime]
    new_uuid: Callable[[], str]
    random: Callable[[], float]
    zone: tzinfo = UTC
    properties: Mapping[str, str] = field(default_factory=dict)
    cache: dict[str, Form] = field(default_factory=dict)
    """Forms already read, by their hash and their records' state; shared by a session's interviews."""
    steady_ms: Callable[[], int] | None = None
    """A clock that nobody can set, for the audit log; without it the wall clock has to do."""

    def now_ms(self) -> int:
        return int(self.now().timestamp() * 1000)

    def context(self) -> Context:
        return Context(self.now, self.new_uuid, self.random, self.properties, self.zone)

    def book(self, form: Form, kept: Mapping[str, Any]) -> Book | None:
        """The audit log of a sitting that begins now, where the form asks for one."""
        clock = self.steady_ms or self.now_ms
        begun_ms = clock()
        return Book.of(
            form,
            started_ms=self.now_ms(),
            elapsed_ms=lambda: clock() - begun_ms,
            properties=self.properties,
            kept=kept,
        )


def load(desk: Desk, stored: StoredForm) -> Form:
    """The form, with its media; lists that the registry fills come from the records pulled last.

    Raises `forms.problems.BrokenForm`, and `Missing` where a file has not arrived yet.
    """
    key = f"{stored.hash} {pulled(desk.store)}"
    if key not in desk.cache:
        media = {name: desk.store.media(digest) for name, digest in stored.media.items()}
        bare = Form.load(stored.xml, media)
        lists = {
            name: dataset_csv(desk.store, PurePath(name).stem)
            for name in bare.media_names
            if name not in media and name.endswith(".csv")
        }
        desk.cache.clear()
        desk.cache[key] = Form.load(stored.xml, media | lists) if lists else bare
    return desk.cache[key]


class Interview:
    """One entry being filled in on this device. Everything it is told is stored at once."""

    def __init__(self, desk: Desk, draft: Draft, entry: Entry, book: Book | None) -> None:
        self.desk = desk
        self.draft = draft.draft
        self.about = draft
        self.entry = entry
        self.book = book

    @classmethod
    def begin(cls, desk: Desk, name: str) -> Interview:
        """A new entry of the form's current version. Raises `Missing`, `BrokenForm`."""
        stored = desk.store.form(name)
        form = load(desk, stored)
        entry = Entry.start(form, desk.context())
        book = desk.book(form, {})
        if book is not None:
            book.opened("form start")
        draft = desk.new_uuid()
        with desk.store.transaction():
            desk.store.begin(
                draft,
                stored,
                started=desk.now().astimezone(desk.zone).isoformat(timespec="milliseconds"),
                now_ms=desk.now_ms(),
                label=stored.title or stored.form,
            )
            begun = cls(desk, desk.store.draft(draft), entry, book)
            begun._keep()
        return begun

    @classmethod
    def resume(cls, desk: Desk, draft: str) -> Interview:
        """Go on where it was left, in the version it was begun in. Raises `Missing`."""
        found = desk.store.draft(draft)
        form = load(desk, desk.store.form(found.form, found.version))
        saved = str(found.answers.get(SAVED, ""))
        entry = (
            Entry.resume(form, saved.encode(), desk.context())
            if saved
            else Entry.start(form, desk.context())
        )
        language = found.answers.get(LANGUAGE)
        if language in form.languages:
            entry.set_language(str(language))
        resumed = cls(desk, found, entry, desk.book(form, found.answers))
        resumed.reopened()
        return resumed

    def reopened(self) -> None:
        """Somebody turns to it again."""
        if self.book is not None:
            self.book.opened("form resume")
            self._keep()

    @property
    def form(self) -> Form:
        return self.entry.form

    def answer(self, ref: str, value: str, *, held_ms: int = 0) -> Changed:
        """The answer, stored when this returns; one that breaks its rule is kept and told as `fault`.

        `held_ms` says for how long a person had been at the question, where that is known.
        """
        before = self._text(ref)
        changed = self.entry.answer(ref, value)
        self._noted(ref, before, changed, held_ms)
        self._keep()
        return changed

    def add_repeat(self, ref: str) -> Changed:
        changed = self.entry.add_repeat(ref)
        if self.book is not None:
            for added in changed.added[:1]:
                self.book.repeated("add repeat", added)
        self._keep()
        return changed

    def remove_repeat(self, ref: str) -> Changed:
        changed = self.entry.remove_repeat(ref)
        if self.book is not None:
            self.book.repeated("delete repeat", ref)
        self._keep()
        return changed

    def set_language(self, language: str) -> Changed:
        changed = self.entry.set_language(language)
        self._keep({LANGUAGE: language})
        return changed

    def attach(self, ref: str, given_name: str, pieces: Iterable[bytes]) -> Changed:
        """Store a file as the answer. Its name on the wire is ours, never what a person typed."""
        media_type, _ = mimetypes.guess_type(PurePath(given_name).name)
        suffix = mimetypes.guess_extension(media_type or "") or ".bin"
        name = f"{self.desk.new_uuid()}{suffix}"
        store = self.desk.store
        with store.transaction():
            old = self._text(ref)
            store.attach(self.draft, name, media_type or "application/octet-stream", pieces)
            if old:
                store.detach(self.draft, old)
            changed = self.entry.answer(ref, name)
            self._noted(ref, old, changed)
            self._keep()
        return changed

    def detach(self, ref: str) -> Changed:
        with self.desk.store.transaction():
            old = self._text(ref)
            self.desk.store.detach(self.draft, old)
            changed = self.entry.answer(ref, "")
            self._noted(ref, old, changed)
            self._keep()
        return changed

    def _keep(self, more: Mapping[str, Any] | None = None) -> None:
        kept = {SAVED: self.entry.save().decode(), **(more or {})}
        if self.book is not None:
            kept |= self.book.fresh()
        self.desk.store.save_all(self.draft, kept)
        if self.book is not None:
            self.book.kept()

    def _text(self, ref: str) -> str:
        return self.entry.find(ref).text

    # -- what the audit log is told, where the form asks for one

    def shown(self, event: str, ref: str = "") -> None:
        """A screen comes up: a "question", or the "end screen"."""
        if self.book is not None:
            self.left()
            self.book.shown(event, {ref: self._text(ref)} if ref else None)

    def left(self) -> None:
        """What was on the screen is gone from it."""
        if self.book is not None:
            there = {}
            for ref in self.book.showing:
                with suppress(NoSuchNode):
                    there[ref] = self._text(ref)
            self.book.left(there)

    def put_aside(self) -> None:
        """The person leaves; the entry stays a draft."""
        if self.book is not None:
            self.left()
            self.book.happened("form save")
            self.book.happened("form exit")
            self._keep()

    def _noted(self, ref: str, before: str, changed: Changed, held_ms: int = 0) -> None:
        if self.book is None:
            return
        if ref not in self.book.showing:
            self.book.answered(ref, before, self._text(ref), held_ms)
        if changed.fault is not None and changed.fault.kind == "constraint":
            self.book.happened("constraint error")

    def finish(self) -> Finished:
        """Seal it into the outbox. Raises `Unfinished`; then all answers are kept as they are."""
        self.left()
        if self.book is not None:
            self.entry.name_log(self.book.ref, FILE)
        try:
            done = self.entry.finish()
        except Unfinished:
            if self.book is not None:
                self.book.happened("finalize error")
                self._keep()
            raise
        if self.book is not None and FILE in done.attachments:
            for event in ("form save", "form exit", "form finalize"):
                self.book.happened(event)
            # A file of the draft like any other: sealed with it, and erased with it.
            self.desk.store.attach(self.draft, FILE, "text/csv", [self.book.file()])
        xml = done.xml.decode()
        now = self.desk.now()
        return self.desk.store.finish(
            self.draft,
            xml=xml,
            instance_id=done.instance_id,
            label=done.name or self.about.label,
            finished=now.astimezone(self.desk.zone).isoformat(timespec="milliseconds"),
            made=tick(self.desk.store, self.desk.now_ms()),
            now_ms=self.desk.now_ms(),
            files=done.attachments,
            seen=dots_seen(self.desk.store, self.form, done.xml),
        )

    def questions(self) -> Iterator[State]:
        """What is asked now, in order: visible questions, notes left out."""
        for state in self.entry.walk():
            if asks(state):
                yield state


def asks(state: State) -> bool:
    """Whether a person answers this (a note and what is worked out are only read)."""
    return state.kind not in ASKS_NOTHING and not state.readonly


def tick(store: Store, now_ms: int) -> str:
    """The hybrid logical clock's next mark: never earlier than one this device made before.

    Milliseconds in 13 digits, a dash, and a count in 4 hex digits for marks within one (Kulkarni
    and others 2014). As text they sort as in time.
    """
    last_ms, count = store.kept("clock", [0, 0])
    last_ms, count = (now_ms, 0) if now_ms > last_ms else (last_ms, count + 1)
    if count > 0xFFFF:
        last_ms, count = last_ms + 1, 0
    store.keep("clock", [last_ms, count])
    return f"{last_ms:013d}-{count:04x}"


def name_of(ref: str) -> str:
    """A reference as people say it: `given_name (member 2)`."""
    parts = [_POSITION.fullmatch(part) for part in ref.strip("/").split("/")]
    within = ", ".join(f"{part[1]} {part[2]}" for part in parts if part and part[2])
    last = parts[-1] if parts else None
    name = last[1] if last else ref
    return f"{name} ({within})" if within and not (last and last[2]) else name


# Answers from a file.


def read_answers(text: str) -> dict[str, Any]:
    """A JSON object of answers. Raises `NoSuchQuestion` with the line where it is none."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NoSuchQuestion(f"the answers are not JSON: {error}") from error
    if not isinstance(found, dict):
        raise NoSuchQuestion("the answers are a JSON object keyed by question name")
    return found


def check_names(form: Form, answers: Mapping[str, Any]) -> None:
    """Raises `NoSuchQuestion` with every name that the form does not ask."""
    questions: dict[tuple[str, ...], set[str]] = {}
    for one in form.questions:
        repeats = _repeats_above(form, one.path)
        if one.repeat is not None:
            questions.setdefault(repeats[:-1], set()).add(one.name + "[]")
            questions.setdefault(repeats, set())
        elif one.control is not None and one.control.asks:
            questions.setdefault(repeats, set()).add(one.name)
    unknown = list(_unknown(questions, (), answers, ""))
    if unknown:
        raise NoSuchQuestion(
            f"{form.id} {form.version} has no such question: " + "; ".join(unknown)
        )


def _repeats_above(form: Form, path: tuple[str, ...]) -> tuple[str, ...]:
    names = []
    for length in range(1, len(path) + 1):
        one = form.by_path.get(path[:length])
        if one is not None and one.repeat is not None:
            names.append(one.name)
    return tuple(names)


def _unknown(
    questions: Mapping[tuple[str, ...], set[str]],
    at: tuple[str, ...],
    answers: Mapping[str, Any],
    where: str,
) -> Iterator[str]:
    known = questions.get(at, set())
    for name, value in answers.items():
        if name in known:
            if isinstance(value, dict):
                yield f"{where}{name} (an answer is a text, a number or a list of choices)"
        elif name + "[]" in known:
            if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
                yield f"{where}{name} (a repeat is a list of objects)"
                continue
            for number, inner in enumerate(value, 1):
                yield from _unknown(questions, (*at, name), inner, f"{where}{name}[{number}]/")
        else:
            yield f"{where}{name}"


class _Given:
    """The answers of a file, looked up by where the engine asks, and ticked off."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self._asked: set[tuple[str, ...]] = set()

    def at(self, ref: str) -> tuple[bool, Any]:
        """Whether there is an answer for it, and which."""
        scope, trail = self._scope(ref)
        name = ref.rpartition("/")[2]
        if scope is None or name not in scope:
            return False, None
        self._asked.add((*trail, name))
        return True, scope[name]

    def wanted(self, ref: str) -> int | None:
        """How many instances of the repeat at `ref` the file has; None where it names none."""
        scope, _ = self._scope(ref)
        name = ref.rpartition("/")[2].partition("[")[0]
        return len(scope[name]) if scope is not None and name in scope else None

    def _scope(self, ref: str) -> tuple[Mapping[str, Any] | None, list[str]]:
        scope: Mapping[str, Any] = self._answers
        trail: list[str] = []
        for part in ref.strip("/").split("/")[:-1]:
            found = _POSITION.fullmatch(part)
            if found and found[2]:
                rows = scope.get(found[1], [])
                place = int(found[2])
                if not isinstance(rows, list) or place > len(rows):
                    return None, trail
                scope = rows[place - 1]
                trail += [f"{found[1]}[{place}]"]
        return scope, trail

    def unasked(self) -> list[str]:
        """Answers that nobody asked for, by name."""
        return ["/".join(one) for one in _leaves(self._answers, ()) if one not in self._asked]


def _leaves(answers: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, value in answers.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for number, inner in enumerate(value, 1):
                yield from _leaves(inner, (*at, f"{name}[{number}]"))
        elif value is not None and value not in ("", []):
            yield (*at, name)


def fill(interview: Interview, answers: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Answer as a person would walk the form: in its order, only what is asked.

    `files` maps a question (by name, or `member[2]/photo`) to a path. Raises `RefusedAnswer` at
    the first required question without an answer, refused answer, or answer that nobody asked for.
    """
    given = _Given(answers)
    waiting = dict(files)
    done: set[str] = set()
    while _step(interview, given, waiting, done):
        pass
    if waiting:
        raise RefusedAnswer(next(iter(waiting)), "is not asked for a file in this interview")
    left = given.unasked()
    if left:
        raise RefusedAnswer(
            left[0], "is not asked in this interview, by the answers before it; leave it out"
        )


def _step(interview: Interview, given: _Given, files: dict[str, str], done: set[str]) -> bool:
    """Walk on until an answer changes what is asked; False at the end."""
    for state in interview.entry.walk():
        if state.kind == "repeat":
            wanted = given.wanted(state.ref)
            count = int(state.parameters.get("count", "0"))
            fixed = state.parameters.get("fixed") == "true"
            if wanted is None or state.ref in done:
                continue
            if fixed and wanted > count:
                name = state.ref.rpartition("/")[2]
                raise RefusedAnswer(
                    f"{name}[{count + 1}]",
                    f"the answers have {wanted} of {name}, the interview asks for {count}",
                )
            if not fixed and wanted != count:
                if wanted > count:
                    interview.add_repeat(state.ref)
                else:
                    interview.remove_repeat(f"{state.ref}[{count}]")
                return True
            done.add(state.ref)
            continue
        if state.ref in done or not asks(state):
            continue
        done.add(state.ref)
        if _answered(interview, state, given, files):
            return True
    return False


def _answered(interview: Interview, state: State, given: _Given, files: dict[str, str]) -> bool:
    """Give one answer; True where it may have changed what else is asked."""
    for name in list(files):
        if state.ref.endswith("/" + name):
            with open(files.pop(name), "rb") as file:  # noqa: PTH123  read piece by piece
                interview.attach(state.ref, file.name, iter(lambda: file.read(65_536), b""))
            return False
    there, value = given.at(state.ref)
    text = as_text(value)
    if not there or text == "":
        if state.required and not state.value:
            raise RefusedAnswer(name_of(state.ref), state.required_message or "needs an answer")
        return False
    wrong = [one for one in _values(state, text) if not _offered(state, one)]
    if wrong:
        few = ", ".join(choice.value for choice in state.choices[:8])
        more = ", ..." if len(state.choices) > 8 else ""
        raise RefusedAnswer(name_of(state.ref), f"{wrong[0]!r} is no choice here ({few}{more})")
    changed = interview.answer(state.ref, text)
    if changed.fault is not None:
        raise RefusedAnswer(name_of(state.ref), f"{text!r}: {changed.fault.reason}")
    return bool(changed.added or changed.removed or set(changed.refs) - {state.ref})


def _values(state: State, text: str) -> list[str]:
    if state.kind == "select1":
        return [text]
    return list(replace(state, value=text).chosen) if state.kind in {"select", "rank"} else []


def _offered(state: State, value: str) -> bool:
    return any(choice.value == value for choice in state.choices)


def as_text(value: Any) -> str:
    """An answer of a JSON file as the form has it: choices joined by spaces, numbers as written."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(as_text(one) for one in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def told(faults: Iterable[Fault]) -> str:
    """The first fault, by its question's name."""
    first = next(iter(faults))
    return f"{name_of(first.ref)}: {first.reason}"


def register(
    desk: Desk, form: str, answers: Mapping[str, Any], files: Mapping[str, str]
) -> Finished:
    """One registration from a file of answers, finished and sealed; or nothing at all.

    Raises `NoSuchQuestion` before anything is begun, and `RefusedAnswer`: then nothing is left of it.
    """
    check_names(load(desk, desk.store.form(form)), answers)
    interview = Interview.begin(desk, form)
    try:
        fill(interview, answers, files)
        return interview.finish()
    except Unfinished as error:
        desk.store.discard(interview.draft)
        first = error.faults[0]
        raise RefusedAnswer(name_of(first.ref), first.reason) from error
    except (RefusedAnswer, OSError, Missing):
        desk.store.discard(interview.draft)
        raise
