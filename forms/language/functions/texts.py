"""Functions about text: joining, cutting, matching, digests and signatures."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import re2

from forms.language import signature
from forms.language.core import LONG, Code, TooCostly
from forms.language.functions.table import function, simple
from forms.language.syntax import BadExpression

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Conversions, Frame
    from forms.language.syntax import Expr
    from forms.tree import Node

    Where = tuple[str, ...] | None

TEXT_MAX = 1_000_000
REGEX_MEMORY_MAX = 8 * 2**20


def bounded(text: str, frame: Frame) -> str:
    if len(text) > LONG:
        if len(text) > TEXT_MAX:
            raise TooCostly(f"the expression makes a text of more than {TEXT_MAX:,} characters")
        frame.read(text)
    return text


@function("string", least=0, most=1, core=True)
def _string(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    if not arguments and compiler.conversions.java:
        raise compiler.fail("string() takes 1 argument, not 0")
    code = compiler.compile(arguments[0], where) if arguments else _here(compiler, where)
    return compiler._folded(Code("s", compiler.conversions.string(code), constant=code.constant))  # noqa: SLF001 - see table


def _here(compiler: Compiler, where: tuple[str, ...] | None) -> Code:
    compiler.fixed = True
    if where is not None:
        compiler.reads.add(where)
    return Code("d", lambda node, _frame: [node], where=where)


def _pieces(
    compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None
) -> list[Callable[[Node, Frame], list[str]]]:
    """From each argument the texts of all its nodes, or its one text."""
    return [_texts_of(compiler.conversions, compiler.compile(one, where)) for one in arguments]


def _texts_of(conversions: Conversions, code: Code) -> Callable[[Node, Frame], list[str]]:
    if code.kind == "d":
        nodes, text_of = conversions.nodes(code), conversions.text_of
        return lambda node, frame: [text_of(each, frame) for each in nodes(node, frame)]
    if code.kind != "v":
        text = conversions.string(code)
        return lambda node, frame: [text(node, frame)]
    run = code.run

    def either(node: Node, frame: Frame) -> list[str]:
        value = run(node, frame)
        if isinstance(value, list):
            return [conversions.text_of(each, frame) for each in value]
        return [conversions.to_text(value, frame)]

    return either


@function("concat", least=0, most=None, core=True)
def _concat(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    if compiler.scope.dialect == "xpath":
        if len(arguments) < 2:
            raise compiler.fail("concat() takes at least 2 arguments")
        texts = [compiler.conversions.string(compiler.compile(one, where)) for one in arguments]
        return Code("s", lambda node, frame: "".join([one(node, frame) for one in texts]))
    runs = _pieces(compiler, arguments, where)
    return Code(
        "s",
        lambda node, frame: bounded(
            "".join([text for run in runs for text in run(node, frame)]), frame
        ),
    )


@function("join", least=1, most=None)
def _join(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    between = compiler.conversions.string(compiler.compile(arguments[0], where))
    runs = _pieces(compiler, arguments[1:], where)
    return Code(
        "s",
        lambda node, frame: bounded(
            between(node, frame).join([text for run in runs for text in run(node, frame)]), frame
        ),
    )


@simple("contains", takes="ss", gives="b", core=True)
def contains(text: str, part: str) -> bool:
    return part in text


@simple("starts-with", takes="ss", gives="b", core=True)
def starts_with(text: str, part: str) -> bool:
    return text.startswith(part)


@simple("ends-with", takes="ss", gives="b")
def ends_with(text: str, part: str) -> bool:
    return text.endswith(part)


@simple("substring-before", takes="ss", gives="s", core=True)
def substring_before(text: str, part: str) -> str:
    head, found, _ = text.partition(part) if part else ("", "", "")
    return head if found else ""


@simple("substring-after", takes="ss", gives="s", core=True)
def substring_after(text: str, part: str) -> str:
    if not part:
        return text
    return text.partition(part)[2]


@simple("substring", takes="snn", gives="s", least=2, core=True)
def substring(text: str, first: float, length: float | None = None) -> str:
    """XPath 1.0, 4.2: from 1, and both ends rounded."""
    begin = _half_up(first)
    end = math.inf if length is None else begin + _half_up(length)
    if math.isnan(begin) or math.isnan(end):
        return ""
    low = max(0, begin - 1)
    high = min(len(text), end - 1)
    if low >= high:
        return ""
    return text[int(low) : int(high)]


def _half_up(number: float) -> float:
    return number if math.isinf(number) or math.isnan(number) else math.floor(number + 0.5)


def _units(text: str) -> str:
    """The text as Java counts it: a letter beyond U+FFFF (an emoji) is two halves."""
    return text if text.isascii() else _WIDE.sub(_halves, text)


def _halves(found: re.Match[str]) -> str:
    high, low = divmod(ord(found[0]) - 0x10000, 0x400)
    return chr(0xD800 + high) + chr(0xDC00 + low)


_WIDE = re.compile("[\U00010000-\U0010ffff]")


def _substr_of_units(text: str, first: float, end: float = math.inf) -> str:
    """As substr() in Collect. Half a letter, which nothing can show or send, is left out."""
    units = _units(text)
    part: str = substr(units, first, end)
    if units is text:
        return part
    return part.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


@simple("substr", takes="snn", gives="s", least=2, collect=_substr_of_units)
def substr(text: str, first: float, end: float = math.inf) -> str:
    """ODK XForms: from 0, to before `end`; from the end where negative."""

    def place(number: float) -> int:
        if math.isnan(number):
            return 0
        if math.isinf(number):
            return len(text) if number > 0 else 0
        whole = int(number)
        return max(0, len(text) + whole) if whole < 0 else min(whole, len(text))

    return text[place(first) : place(end)]


@simple("translate", takes="sss", gives="s", core=True)
def translate(text: str, old: str, new: str) -> str:
    table: dict[int, str | None] = {}
    for number, letter in enumerate(old):
        table.setdefault(ord(letter), new[number] if number < len(new) else None)
    return text.translate(table)


@function("string-length", least=0, most=1, core=True)
def _length(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    if not arguments and compiler.scope.dialect != "xpath":
        raise compiler.fail("string-length() takes 1 argument, not 0")
    code = compiler.compile(arguments[0], where) if arguments else _here(compiler, where)
    text = compiler.conversions.string(code)
    # Java counts halves of the letters beyond U+FFFF.
    counted = _units if compiler.conversions.java else str

    def count(node: Node, frame: Frame) -> float:
        return float(len(counted(_read(text, node, frame))))

    return compiler._folded(Code("n", count, constant=code.constant))  # noqa: SLF001 - see table


@function("normalize-space", least=0, most=1, core=True)
def _normalize(
    compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None
) -> Code:
    code = compiler.compile(arguments[0], where) if arguments else _here(compiler, where)
    text = compiler.conversions.string(code)
    return compiler._folded(  # noqa: SLF001 - see table
        Code(
            "s",
            lambda node, frame: " ".join(
                part for part in _spaces(_read(text, node, frame)).split(" ") if part
            ),
            constant=code.constant,
        )
    )


def _read(text: Callable[[Node, Frame], str], node: Node, frame: Frame | None) -> str:
    """A constant is worked out once, where nothing is paid."""
    said = text(node, frame)  # type: ignore[arg-type] # a constant asks no frame
    return said if frame is None else frame.read(said)


def _spaces(text: str) -> str:
    return text.translate({9: " ", 10: " ", 13: " "})


@lru_cache(maxsize=1024)
def pattern(text: str) -> Any:
    """The pattern in RE2, whose time is linear in the text: none is catastrophic.

    Raises BadExpression for what RE2 does not have (look-around, back-references).
    """
    options = re2.Options()
    options.max_mem = REGEX_MEMORY_MAX
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as fault:
        reason = fault.args[0] if fault.args else fault
        if isinstance(reason, bytes):
            reason = reason.decode(errors="replace")
        raise BadExpression(text, 0, f"the pattern cannot be used: {reason}") from None


@function("regex", least=2, most=2)
def _regex(compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None) -> Code:
    """Collect matches the whole text, the browser any part of it."""
    text = compiler.conversions.string(compiler.compile(arguments[0], where))
    code = compiler.compile(arguments[1], where)
    matcher = compiler.conversions.string(code)
    whole = compiler.conversions.java
    if code.constant:
        fixed = pattern(matcher(None, None))  # type: ignore[arg-type] # a constant asks neither
        match = fixed.fullmatch if whole else fixed.search
        # Of bytes, RE2 does not count where in the text the match stands, which nobody asks here.
        return Code(
            "b", lambda node, frame: match(bounded(text(node, frame), frame).encode()) is not None
        )

    def matches(node: Node, frame: Frame) -> bool:
        found = pattern(matcher(node, frame))
        return (found.fullmatch if whole else found.search)(
            bounded(text(node, frame), frame)
        ) is not None

    return Code("b", matches)


_DIGESTS = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "SHA1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
    "SHA384": lambda data: hashlib.sha384(data).digest(),
    "SHA512": lambda data: hashlib.sha512(data).digest(),
}


@simple("digest", takes="sss", gives="s", least=2)
def digest(text: str, algorithm: str, encoding: str = "base64") -> str:
    """MD5, SHA-1, SHA-256, SHA-384 or SHA-512 of the text, in base64 or hex."""
    make = _DIGESTS.get(algorithm.upper().replace("-", ""))
    encoding = encoding.lower()
    if make is None or encoding not in {"base64", "hex"}:
        raise BadExpression(
            f"{algorithm}, {encoding}", 0, "digest() knows MD5, SHA-1 to SHA-512; base64 and hex"
        )
    made = make(text.encode())
    return made.hex() if encoding == "hex" else base64.b64encode(made).decode()


@function("base64-decode", least=1, most=1)
def _base64_decode(compiler: Compiler, arguments: tuple[Expr, ...], where: Where) -> Code:
    text = compiler.conversions.string(compiler.compile(arguments[0], where))
    whole = compiler.conversions.java
    return Code("s", lambda node, frame: base64_decode(text(node, frame), whole=whole))


def base64_decode(text: str, *, whole: bool) -> str:
    """The text that was encoded, with U+FFFD for bytes that are no text; "" where it is none.
    `whole` asks for the signs "=" at its end that make it four by four.
    """
    text = "".join(text.split())
    if whole and len(text) % 4:
        return ""
    try:
        made = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return made.decode(errors="replace")


@simple("extract-signed", takes="ss", gives="s")
def extract_signed(contents: str, public_key: str) -> str:
    """The message that an Ed25519 signature stands before; "" where the key did not sign it."""
    try:
        data = base64.b64decode(contents + "=" * (-len(contents) % 4), validate=True)
        key = base64.b64decode(public_key + "=" * (-len(public_key) % 4), validate=True)
    except (binascii.Error, ValueError):
        return ""
    signed, message = data[:64], data[64:]
    if len(signed) != 64 or len(key) != 32 or not signature.verified(key, message, signed):
        return ""
    return message.decode(errors="replace")
