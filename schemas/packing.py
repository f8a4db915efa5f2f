"""How a submission is made small before it is sealed: written along its form, then compressed.

Both sides hold the form, so nothing of it need travel: neither the tags nor their order. Two
packings, named in each header so that the rules can change:

`zstd`    one zstd frame of the text.

`form-1`  what the form's outline tells is left out, then zstd with a dictionary. The bytes are

    u16 count | count raw UUIDs of 16 bytes | zstd frame

The outline is read from the bytes of the compiled XForm by the plain rule of `Outline`, which need
not understand the form: a form that it reads badly packs badly, and is opened as exactly.
Characters that XML 1.0 forbids serve as marks (_MARKS); a text that holds one is packed by `zstd`.
"""

from __future__ import annotations

import re
import struct
import threading
from bisect import bisect_right
from dataclasses import dataclass
from uuid import UUID

import zstandard

from schemas.frames import MAX_PAYLOAD, squeeze, unsqueeze
from schemas.problems import Refused

PLAIN = "zstd"
ALONG_FORM = "form-1"
PACKINGS = (PLAIN, ALONG_FORM)

_LEVEL = 6
_UUID_LENGTH = 36
_COUNT = struct.Struct(">H")
_UUIDS_MAX = 2**16 - 1
_FORM_MAX = 16 * 1024 * 1024
_DICTIONARY_MAX = 64 * 1024
_SLOTS_MAX = 20_000
_REMEMBERED = 20_000
"""Steps that one outline keeps ready."""

# The marks. END closes a value. Before a value may stand one step, where it is not the next slot:
# AGAIN, the first slot of the innermost repeat around the last one; a byte from SKIP on, so many
# slots are left out; TO digits END, a slot by its number; LITERAL bytes END, the text itself.
_END, _TO, _LITERAL, _AGAIN, _KNOWN, _EMPTY, _FRESH = (bytes([one]) for one in range(1, 8))
_SKIP, _SKIPS = 0x0E, 18
_MARKS = bytes({*range(32)} - {9, 10, 13})
_KNOWNS = 60

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MARKED = re.compile(rb"\x05([\x40-\x7e])|\x07")
_VALUES = re.compile(rb">([^<>]+)<")
# `<x />` is taken as `<x>EMPTY</>`: every question that was asked is a value, and the steps are even.
_BARE, _BARE_MARKED, _BARE_END = b" />", b">" + _EMPTY + b"</>", b"</>"
_TAGS = re.compile(rb"<(/?)([^<>/\s]+)([^<>]*?)\s*(/?)>")
_INSTANCE = re.compile(rb"<instance(?:\s[^<>]*)?>(.*?)</instance>", re.DOTALL)
_TEMPLATE = re.compile(rb'\s[^\s=<>]*template="[^"]*"')
_WORDS = re.compile(rb"<name>([^<>]{1,64})</")
_START = b"<?xml version='1.0' encoding='UTF-8' ?>"
_HEAD = (
    b'"parent":"uuid:","seen":{"":{"":[":"]}},{"files":{"":["","image/jpeg",0]},'
    b'{"finished":"20","instance_id":"uuid:","label":"","started":"20"}\n'
)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place for a value: the tags before and behind it, the elements around it from outside in."""

    start: bytes
    end: bytes
    around: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Element:
    start: bytes
    end: bytes
    first: int
    """The number of the first slot inside."""


@dataclass(slots=True)
class _Reading:
    """How far the children of one element are read: the name and number of the last of them."""

    name: bytes = b""
    number: int = -1


class Outline:
    """What a form tells of its instances: the tags around each value, in their order.

    Read from the content of the form's first `<instance>`: an element without elements is a slot; an
    element that follows a sibling of its own name is a repeat, and is read once; attributes named
    template are left out, and empty attributes stand for a UUID.
    """

    def __init__(self, form: bytes) -> None:
        found = _INSTANCE.search(form, 0, _FORM_MAX)
        tree = found[1] if found else b""
        self._slots: list[_Slot] = []
        self._elements: list[_Element] = []
        self._repeats: set[int] = set()
        self._read([tag for tag in _TAGS.finditer(tree) if tag[2][:1] not in b"?!"])
        self._begins: dict[bytes, list[int]] = {}
        for number, slot in enumerate(self._slots):
            self._begins.setdefault(slot.start[:-1], []).append(number)
        tags = b"".join(dict.fromkeys(one[0] for one in _TAGS.finditer(tree)))
        words = b"\1".join(dict.fromkeys(_WORDS.findall(form, 0, _FORM_MAX)))
        self._dictionary = zstandard.ZstdCompressionDict(
            tags[:_DICTIONARY_MAX] + words[:_DICTIONARY_MAX] + _END + _HEAD,
            dict_type=zstandard.DICT_TYPE_RAWCONTENT,
        )
        # Once: to do it again would free what compressors hold.
        self._dictionary.precompute_compress(level=_LEVEL)
        self._mine = threading.local()
        self._marks: dict[tuple[int, bytes], tuple[bytes, int]] = {}
        self._runs: dict[tuple[int, bytes, bytes], tuple[bytes, int]] = {}

    def _read(self, tags: list[re.Match[bytes]]) -> None:
        open_ones: list[int] = []
        readings = [_Reading()]
        passing = 0  # Open elements of what is passed over.
        for tag, following in zip(tags, [*tags[1:], None], strict=False):
            closes, name, more, alone = tag.groups()
            if passing:
                passing += 0 if alone else -1 if closes else 1
            elif closes:
                if not open_ones:
                    return
                open_ones.pop()
                readings.pop()
            elif name == readings[-1].name:
                if readings[-1].number >= 0:
                    self._repeats.add(readings[-1].number)
                passing = 0 if alone else 1
            elif len(self._slots) < _SLOTS_MAX:
                more = _TEMPLATE.sub(b"", more).replace(b'=""', b'="' + _FRESH + b'"')
                start, end = b"<" + name + more + b">", b"</" + name + b">"
                if alone or (following and following[1]):
                    self._slots.append(_Slot(start, end, tuple(open_ones)))
                    readings[-1] = _Reading(name)
                    passing = 0 if alone else 1
                else:
                    readings[-1] = _Reading(name, len(self._elements))
                    open_ones.append(len(self._elements))
                    readings.append(_Reading())
                    self._elements.append(_Element(start, end, len(self._slots)))

    # One step: from slot `at` (-1 before the first) to slot `to` (as many as there are: the end).

    def _between(self, at: int, to: int, end: bytes = b"") -> bytes:
        """The text between the values of two slots, b"" where the outline tells none.

        Without the `<` before it and the `>` behind it. `end` stands for the first slot's end tag.
        """
        here = self._slots[at].around if at >= 0 else ()
        there = self._slots[to].around if to < len(self._slots) else ()
        shared = 0
        while shared < min(len(here), len(there)) and here[shared] == there[shared]:
            shared += 1
        if to <= at:
            # Back: the innermost repeat around both begins again.
            while shared and here[shared - 1] not in self._repeats:
                shared -= 1
            if not shared:
                return b""
            shared -= 1
        out = [(end or self._slots[at].end)[1:] if at >= 0 else _START]
        out += [self._elements[one].end for one in reversed(here[shared:])]
        out += [self._elements[one].start for one in there[shared:]]
        if to == len(self._slots):
            return b"".join(out)
        return b"".join((*out, self._slots[to].start[:-1]))

    def _again(self, at: int) -> int:
        for one in reversed(self._slots[at].around if at >= 0 else ()):
            if one in self._repeats:
                return self._elements[one].first
        return -1

    def _led_to(self, run: bytes) -> list[int]:
        """The slots that begin with the last tag of a text."""
        return self._begins.get(run[run.rfind(b"<") :], [])

    def _after(self, at: int, run: bytes) -> int:
        """The slot that a literal text leads to: the next that begins with its last tag."""
        found = self._led_to(run)
        if not found:
            return min(at + 1, len(self._slots))
        return found[bisect_right(found, at) % len(found)]

    def _find_mark(self, at: int, run: bytes) -> tuple[bytes, int]:
        """The mark for the text behind slot `at`, and the slot that it leads to."""
        many = len(self._slots)
        end = _BARE_END if run.startswith(_BARE_END[1:]) else b""
        again = self._again(at)
        for to in (*self._led_to(run), many):
            if self._between(at, to, end) == run:
                skipped = to - at - 1
                if 0 <= skipped <= _SKIPS:
                    return bytes([_SKIP + skipped - 1]) if skipped else b"", to
                return _AGAIN if to == again else _TO + str(to).encode() + _END, to
        return _LITERAL + run + _END, self._after(at, run)

    def _find_run(self, at: int, mark: bytes, end: bytes) -> tuple[bytes, int]:
        """What `_find_mark` was given, from what it gave. Raises ValueError."""
        kind = mark[:1]
        if kind == _LITERAL:
            return mark[1:], self._after(at, mark[1:])
        if kind == _TO:
            to = int(mark[1:])
        elif kind == _AGAIN:
            to = self._again(at)
        else:
            to = at + 1 + (mark[0] - _SKIP + 1 if mark else 0)
        run = self._between(at, to, end) if 0 <= to <= len(self._slots) else b""
        if not run:
            raise ValueError(f"no step {mark!r} from slot {at}")
        return run, to

    # Whole texts.

    def pack(self, text: bytes) -> bytes:
        """`text` (a line, then an XML instance) without what the form tells.

        Raises ValueError where the text holds one of the marks: then it is packed otherwise.
        """
        if len(text.translate(None, _MARKS)) != len(text):
            raise ValueError("the text holds a character that XML forbids")
        uuids: dict[bytes, int] = {}

        def named(found: re.Match[bytes]) -> bytes:
            return _uuid_mark(uuids, found[0])

        head, _, xml = text.partition(b"\n")
        pieces = _VALUES.split(xml.replace(_BARE, _BARE_MARKED))
        out, at, marks = [_UUID.sub(named, head), b"\n"], -1, self._marks
        for place, piece in enumerate(pieces):
            if place % 2:
                out.append(_UUID.sub(named, piece) if len(piece) >= _UUID_LENGTH else piece)
                out.append(_END)
                continue
            step = marks.get((at, piece))
            if step is None:
                run = _UUID.sub(named, piece)
                step = marks.get((at, run)) or self._find_mark(at, run)
                # What holds an id that was seen before is rare, and would fill the memory.
                if len(marks) < _REMEMBERED and step[0][:1] != _LITERAL:
                    marks[at, run] = step
            mark, at = step
            if mark:
                out.append(mark)
        raw = b"".join(map(bytes.fromhex, (one.replace(b"-", b"").decode() for one in uuids)))
        return _COUNT.pack(len(uuids)) + raw + bytes(self._zstd()[0].compress(b"".join(out)))

    def _zstd(self) -> tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor]:
        """This thread's own: zstd's contexts are for one thread, and dear to make."""
        found: tuple[zstandard.ZstdCompressor, zstandard.ZstdDecompressor] | None
        found = getattr(self._mine, "zstd", None)
        if found is None:
            words = self._dictionary
            found = self._mine.zstd = (
                zstandard.ZstdCompressor(level=_LEVEL, dict_data=words),
                zstandard.ZstdDecompressor(dict_data=words, max_window_size=2**27),
            )
        return found

    def unpack(self, data: bytes) -> bytes:
        """What was packed. Raises `Refused` with `malformed` or `too-large`."""
        try:
            (count,) = _COUNT.unpack_from(data)
            begins = 2 + 16 * count
            raw = [UUID(bytes=data[at : at + 16]) for at in range(2, begins, 16)]
            text = unsqueeze(data[begins:], MAX_PAYLOAD, self._zstd()[1])
            head, _, rest = text.partition(b"\n")
            whole = head + b"\n" + self._unpacked(rest).replace(_BARE_MARKED, _BARE)
            uuids = [str(one).encode() for one in raw]
            fresh = iter(uuids)
            whole = _MARKED.sub(
                lambda mark: uuids[mark[1][0] - 0x40] if mark[1] else next(fresh), whole
            )
        except (struct.error, ValueError, IndexError, StopIteration, RuntimeError) as error:
            raise Refused("malformed", "not packed along this form") from error
        if len(whole) > MAX_PAYLOAD:
            raise Refused("too-large", f"{len(whole)} bytes; the limit is {MAX_PAYLOAD}")
        return whole

    def _unpacked(self, text: bytes) -> bytes:
        out: list[bytes] = []
        place, at, size, end = 0, -1, 0, b""
        while True:
            kind = text[place : place + 1]
            if kind and kind in _TO + _LITERAL:
                ends = text.index(_END, place)
                mark, place = text[place:ends], ends + 1
            elif kind and (kind == _AGAIN or _SKIP <= kind[0] < _SKIP + _SKIPS):
                mark, place = kind, place + 1
            else:
                mark = b""
            step = self._runs.get((at, mark, end))
            if step is None:
                step = self._find_run(at, mark, end)
                if len(self._runs) < _REMEMBERED and mark[:1] != _LITERAL:
                    self._runs[at, mark, end] = step
            run, at = step
            out.append(run)
            if place == len(text):
                return b"".join(out)
            ends = text.index(_END, place)
            value, place = text[place:ends], ends + 1
            out += (b">", value, b"<")
            end = _BARE_END if value == _EMPTY else b""
            size += len(run) + len(value)
            if size > MAX_PAYLOAD:
                raise Refused("too-large", f"more than {MAX_PAYLOAD} bytes when unpacked")


def _uuid_mark(uuids: dict[bytes, int], found: bytes) -> bytes:
    """A mark for a UUID that is new, or for one of the first that came before; else its text."""
    known = uuids.get(found)
    if known is not None:
        return _KNOWN + bytes([0x40 + known]) if known < _KNOWNS else found
    if len(uuids) == _UUIDS_MAX:
        return found
    uuids[found] = len(uuids)
    return _FRESH


def pack(text: bytes, outline: Outline | None) -> tuple[str, bytes]:
    """The name of the packing, and the packed bytes. `text` is a line, then an XML instance."""
    if outline is not None:
        try:
            return ALONG_FORM, outline.pack(text)
        except ValueError:
            pass
    return PLAIN, squeeze(text)


def unpack(packing: str, data: bytes, outline: Outline | None) -> bytes:
    """The text again. `outline` is asked for by `form-1` only. Raises `Refused`."""
    if packing == PLAIN:
        return unsqueeze(data, MAX_PAYLOAD)
    if outline is None:
        raise Refused("form-unknown", "it is packed along a form that is not here")
    return outline.unpack(data)
