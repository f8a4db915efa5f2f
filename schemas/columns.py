"""Changes of an area written column by column, so that a page of them is little more than its ids.

    columns = u8 2 | u32 count | count UUIDs of 16 bytes | zstd(JSON)

All values of one field lie together, what is the same in many changes is written once and named by
its number, and ids that are UUIDs are taken out, since nothing compresses them. Left out is the hash
of the sealed submission that the registry has a change from: it tells a device nothing, and is a
third of what would be left. `docs/protocol.md`, "Pages", says what each column holds.
"""

from __future__ import annotations

import json
import re
import struct
from bisect import bisect_left
from itertools import accumulate, count, pairwise
from typing import TYPE_CHECKING, Any

from schemas.frames import MAX_MESSAGE, load_json, squeeze, unsqueeze
from schemas.problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LAYOUT = 2
"""The first byte, and the name of this layout in a round's request."""
_HEAD = struct.Struct(">BI")
_ID_BYTES = 16
_LEVEL = 9
_LARGEST = 2**53
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASH = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(r"[!#-\[\]-~]{1,200}")
_BEGINS = re.compile(r'\{"r":"([!#-\[\]-~]{1,200})".*\}')
_MEMBERS, _BEHIND_MEMBERS = "members/", "members0"
_KEYS = frozenset("rdoatsekw")
_MORE_KEYS = _KEYS | frozenset("vn")
_TEXTS = "rdoatsk"
_SORT = 6
_ODD = -1
_KINDS: dict[str, frozenset[type]] = {
    **dict.fromkeys("qkoewmp", frozenset({int})),
    **dict.fromkeys("ri", frozenset({int, str})),
    "t": frozenset({str}),
}
_BARE = {str, type(None)}
_COMPACT = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


# Writing.


class _Shapes:
    """Which fields were written together: each set of names once, and the values of all who did."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], tuple[int, list[list[Any]]]] = {}

    def add(self, names: tuple[str, ...], cells: list[Any]) -> int:
        """The number of the shape that has these names."""
        number, rows = self._rows.setdefault(names, (len(self._rows), []))
        rows.append(cells)
        return number

    def columns(self) -> list[Any]:
        return [[names, list(zip(*rows, strict=True))] for names, (_, rows) in self._rows.items()]


class _Writing:
    """The columns, while changes are added to them."""

    def __init__(self) -> None:
        self.sorts: dict[tuple[str, ...], int] = {}
        self.own, self.members = _Shapes(), _Shapes()
        self.ids: list[str] = []
        self._known: dict[str, int] = {}
        self._counters: dict[str, int] = {}
        self._effective = 0
        self.columns: dict[str, list[Any]] = {key: [] for key in "qkoetrnwmip"}
        self.odd: list[str] = []

    def _refer(self, name: str) -> int | str:
        """How an id is written: 0, the next of the table; how far back it was; or as it is."""
        at = self._known.get(name)
        if at is not None:
            return len(self.ids) - at
        if not _UUID.fullmatch(name):
            return name
        self._known[name] = len(self.ids)
        self.ids.append(name)
        return 0

    def add(self, step: int, change: bytes) -> None:
        put = self.columns
        put["q"].append(step)
        body = _as_written(change)
        if body is None:
            put["k"].append(_ODD)
            self.odd.append(change.decode())
            return
        device, _, counter = body["o"].rpartition(":")
        source = "" if _HASH.fullmatch(body["s"]) else body["s"]
        sort = (body["d"], device, body["a"], source, body["k"], body.get("v", ""))
        put["k"].append(self.sorts.setdefault(sort, len(self.sorts)))
        put["o"].append(int(counter) - self._counters.get(device, 0))
        self._counters[device] = int(counter)
        effective, at = body["e"], body["t"]
        put["e"].append(effective - self._effective)
        self._effective = effective
        mark = f"{effective:013d}"
        put["t"].append(f"+{at[len(mark) :]}" if at.startswith(mark) else f"={at}")
        put["n"].append(body.get("n", 0))
        put["r"].append(self._refer(body["r"]))
        self._add_writes(body["w"])

    def _add_writes(self, writes: Mapping[str, Any]) -> None:
        put, paths, cells = self.columns, list(writes), list(writes.values())
        first, end = bisect_left(paths, _MEMBERS), bisect_left(paths, _BEHIND_MEMBERS)
        own, own_cells = paths[:first] + paths[end:], cells[:first] + cells[end:]
        at = first
        many = len(put["i"])
        while at < end:
            person, slash, _ = paths[at][len(_MEMBERS) :].partition("/")
            over = bisect_left(paths, f"{_MEMBERS}{person}0", at, end) if slash else at + 1
            if slash:
                length = len(_MEMBERS) + len(person) + 1
                names = tuple([path[length:] for path in paths[at:over]])
                put["i"].append(self._refer(person))
                put["p"].append(self.members.add(names, cells[at:over]))
            else:
                own.append(paths[at])
                own_cells.append(cells[at])
            at = over
        put["m"].append(len(put["i"]) - many)
        put["w"].append(self.own.add(tuple(own), own_cells))

    def packed(self) -> bytes:
        body = {
            "sorts": list(self.sorts),
            **self.columns,
            "odd": self.odd,
            "own": self.own.columns(),
            "members": self.members.columns(),
        }
        raw = bytes.fromhex("".join(self.ids).replace("-", ""))
        text = _COMPACT.encode(body).encode()
        return _HEAD.pack(LAYOUT, len(self.ids)) + raw + squeeze(text, _LEVEL)


def _as_written(change: bytes) -> dict[str, Any] | None:
    """The change's JSON, if columns can hold it: as `conflict.to_json` writes one."""
    try:
        body = json.loads(change)
        keys = body.keys()
        paths = list(body["w"])
        device, _, counter = body["o"].rpartition(":")
        sound = (
            b"\\ud" not in change
            and keys >= _KEYS
            and keys <= _MORE_KEYS
            and {type(body[key]) for key in _TEXTS} | {type(body.get("v", ""))} == {str}
            and type(body["e"]) is int
            and abs(body["e"]) < _LARGEST
            and _RECORD.fullmatch(body["r"]) is not None
            and bool(device)
            and str(int(counter)) == counter
            and 0 <= int(counter) < _LARGEST
            and body.get("v", "-") != ""
            and _are_texts(body.get("n", ["-"]))
            and paths == sorted(paths)
            and _are_cells(body["w"].values())
        )
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    return body if sound else None


def _are_texts(value: Any) -> bool:
    return type(value) is list and bool(value) and {type(one) for one in value} == {str}


def _are_cells(cells: Iterable[Any]) -> bool:
    return set(map(type, cells)) <= _BARE or all(
        one is None or type(one) is str or (type(one) is list and bool(one) and _is_cell(*one))
        for one in cells
    )


def _is_cell(value: Any, *seen: Any) -> bool:
    """A value with the places of what its author had seen; a set is a list of texts."""
    kind = type(value)
    sound = kind in _BARE or (kind is list and {type(one) for one in value} <= {str})
    return (
        sound and {type(one) for one in seen} <= {int} and all(0 <= one < _LARGEST for one in seen)
    )


def pack_columns(changes: Iterable[tuple[int, bytes]]) -> bytes:
    """Changes by their sequence, in order.

    What `Columns` gives back of each is the same change as `conflict` reads it, but for the
    hash. One that columns cannot hold lies in them byte for byte.
    """
    made, before = _Writing(), 0
    for sequence, change in changes:
        made.add(sequence - before, change)
        before = sequence
    return made.packed()


# Reading.


class _Shape:
    """Names, and row by row what was written to them."""

    def __init__(self, names: list[str], columns: list[list[Any]]) -> None:
        if len(names) != len(columns) or not {type(one) for one in names} <= {str}:
            raise ValueError("as many columns as names, which are texts")
        self.names = names
        self.rows = list(zip(*columns, strict=True))


def _shapes(told: list[list[Any]], used: list[int]) -> tuple[list[_Shape], list[int]]:
    """The shapes, and the row that belongs to each use of one: the next that is left of it."""
    shapes = [_Shape(*one) for one in told]
    taken, places = [0] * len(shapes), []
    for number in used:
        places.append(taken[number])
        taken[number] += 1
    if min(used, default=0) < 0:
        raise ValueError("no shape has such a number")
    for shape, many in zip(shapes, taken, strict=True):
        if not shape.names:
            shape.rows = [()] * many
        elif len(shape.rows) != many:
            raise ValueError("as many rows as uses")
    return shapes, places


class Columns:
    """The changes of a page: their sequences, their records, and what each says when it is asked for.

    Raises `Refused` with `too-large`, before much more than is allowed is held, or `malformed`.
    """

    def __init__(self, data: bytes) -> None:
        try:
            layout, many = _HEAD.unpack_from(data)
            begins = _HEAD.size + _ID_BYTES * many
            if layout != LAYOUT or len(data) < begins:
                raise ValueError("cut short")
            body = load_json(unsqueeze(data[begins:], MAX_MESSAGE))
            self._read(body, data[_HEAD.size : begins].hex())
        except (struct.error, ValueError, TypeError, LookupError, AttributeError) as why:
            raise Refused("malformed", "its columns do not fit together") from why

    def _read(self, body: dict[str, Any], ids: str) -> None:
        for key, kinds in _KINDS.items():
            if not set(map(type, body[key])) <= kinds:
                raise TypeError(f"a column {key} of something else")
        numbers: list[int] = body["k"]
        self._sorts: list[list[str]] = body["sorts"]
        if not all(len(sort) == _SORT and _are_texts(sort) for sort in self._sorts):
            raise ValueError("a sort is so many texts")
        self._numbers = [one for one in numbers if one != _ODD]
        if min(self._numbers, default=0) < 0:
            raise ValueError("no sort has such a number")
        self._effective = list(accumulate(body["e"]))
        self._at, self._named = body["t"], body["n"]
        self._own, self._rows = _shapes(body["own"], body["w"])
        self._used = body["w"]
        self._members, self._member_rows = _shapes(body["members"], body["p"])
        self._members_used = body["p"]
        self._begins = list(accumulate(body["m"], initial=0))
        counted = self._begins[-1] == len(body["i"]) == len(body["p"])
        if not counted or min(body["m"], default=0) < 0:
            raise ValueError("other members than were counted")
        for column in (self._effective, self._at, self._named, self._used, body["o"], body["m"]):
            if len(column) != len(self._numbers):
                raise ValueError("a column is longer than another")
        self._counters = self._counted(body["o"])
        if max(map(abs, (*self._effective, *self._counters)), default=0) >= _LARGEST:
            raise ValueError("a number beyond all")
        records = self._referred(body["r"], body["i"], ids)
        self.sequences = list(accumulate(body["q"]))
        self.records, self._plain, self._odd = self._placed(numbers, records, body["odd"])
        if len(self.sequences) != len(numbers):
            raise ValueError("as many sequences as changes")

    def _counted(self, steps: list[int]) -> list[int]:
        last: dict[str, int] = {}
        counters = []
        for number, step in zip(self._numbers, steps, strict=True):
            device = self._sorts[number][1]
            last[device] = last.get(device, 0) + step
            counters.append(last[device])
        return counters

    def _referred(self, records: list[int | str], people: list[int | str], raw: str) -> list[str]:
        """The records' ids; the members' are kept. All of the table is named, in its order."""
        table = [
            f"{raw[at : at + 8]}-{raw[at + 8 : at + 12]}-{raw[at + 12 : at + 16]}-"
            f"{raw[at + 16 : at + 20]}-{raw[at + 20 : at + 32]}"
            for at in range(0, len(raw), 2 * _ID_BYTES)
        ]
        if not all(_RECORD.fullmatch(one) for one in records if isinstance(one, str)):
            raise ValueError("no record's id")
        order: list[int | str] = []
        for record, (begin, end) in zip(records, pairwise(self._begins), strict=True):
            order.append(record)
            order += people[begin:end]
        named, fresh = [], 0
        for one in order:
            if one == 0:
                named.append(table[fresh])
                fresh += 1
            elif isinstance(one, str):
                named.append(one)
            elif 0 < one <= fresh:
                named.append(table[fresh - one])
            else:
                raise ValueError("before the first id")
        if fresh != len(table):
            raise ValueError("ids that nothing names")
        heads = [begin + place for place, begin in enumerate(self._begins[:-1])]
        found = [named[head] for head in heads]
        for head in reversed(heads):
            del named[head]
        self._people = named
        return found

    @staticmethod
    def _placed(
        numbers: list[int], records: list[str], odd: list[str]
    ) -> tuple[list[str], list[int], dict[int, bytes]]:
        """Every change's record, its place in the columns, and the text of what is not in them."""
        if len(records) == len(numbers) and not odd:
            return records, list(range(len(numbers))), {}
        named, plain, texts = iter(records), count(), iter(odd)
        all_records, places, whole = [], [], {}
        for place, number in enumerate(numbers):
            if number == _ODD:
                text = next(texts, "")
                begins = _BEGINS.fullmatch(text)
                if begins is None:
                    raise ValueError("no change")
                whole[place] = text.encode()
                all_records.append(begins[1])
                places.append(_ODD)
            else:
                all_records.append(next(named, ""))
                places.append(next(plain))
        if next(plain) != len(records) or next(texts, None) is not None:
            raise ValueError("other records than changes")
        return all_records, places, whole

    def body(self, place: int, *, own: bool = False) -> bytes | dict[str, Any]:
        """A change's JSON: its values, or its bytes where columns could not hold it.

        With `own` perhaps without what it says of members.
        """
        if place in self._odd:
            return self._odd[place]
        at = self._plain[place]
        dataset, device, author, source, kind, version = self._sorts[self._numbers[at]]
        effective, mark = self._effective[at], self._at[at]
        body: dict[str, Any] = {
            "r": self.records[place],
            "d": dataset,
            "o": f"{device}:{self._counters[at]}",
            "a": author,
            "t": (f"{effective:013d}" if mark.startswith("+") else "") + mark[1:],
            "e": effective,
            "s": source,
            "k": kind,
        }
        if version:
            body["v"] = version
        if self._named[at]:
            body["n"] = self._named[at]
        shape = self._own[self._used[at]]
        writes = dict(zip(shape.names, shape.rows[self._rows[at]], strict=True))
        if not own:
            for one in range(self._begins[at], self._begins[at + 1]):
                shape = self._members[self._members_used[one]]
                before = f"{_MEMBERS}{self._people[one]}/"
                names = [before + name for name in shape.names]
                writes.update(zip(names, shape.rows[self._member_rows[one]], strict=True))
            writes = dict(sorted(writes.items()))
        body["w"] = writes
        return body

    def change(self, place: int) -> bytes:
        """As `conflict.to_json` writes it."""
        body = self.body(place)
        return body if isinstance(body, bytes) else _COMPACT.encode(body).encode()
