"""The table that functions enter themselves into, and how most of them are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forms.language.core import LONG, Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from forms.language.compiler import Compiler
    from forms.language.core import Frame
    from forms.language.syntax import Expr
    from forms.tree import Node

    Build = Callable[[Compiler, tuple[Expr, ...], tuple[str, ...] | None], Code]
    Run = Callable[[Node, Frame], Any]


@dataclass(frozen=True, slots=True)
class Function:
    """How many arguments it takes (`most` None: any number), and how a call is compiled.
    `core` ones are in plain XPath 1.0 too.
    """

    least: int
    most: int | None
    build: Build
    core: bool = False


FUNCTIONS: dict[str, Function] = {}


def function(
    *names: str, least: int, most: int | None, core: bool = False
) -> Callable[[Build], Build]:
    """Enter a builder under its names."""

    def enter(build: Build) -> Build:
        for name in names:
            FUNCTIONS[name] = Function(least, most, build, core)
        return build

    return enter


def simple(
    *names: str,
    takes: str,
    gives: str,
    least: int | None = None,
    core: bool = False,
    collect: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a plain function of values. `takes` has a letter for each argument: "s"tring, "n"umber,
    "b"oolean, no"d"es; a final "*" repeats the last letter. `gives` is the kind of its value;
    `collect` is what does the same as Collect does it, where that is something else.

    Where nothing it is given can change, it is worked out once.
    """
    repeated = takes.endswith("*")
    letters = takes.removesuffix("*")
    fewest = len(letters) if least is None else least
    most = None if repeated else len(letters)

    def enter(plain: Callable[..., Any]) -> Callable[..., Any]:
        def build(
            compiler: Compiler, arguments: tuple[Expr, ...], where: tuple[str, ...] | None
        ) -> Code:
            work = collect if collect is not None and compiler.conversions.java else plain
            codes = [compiler.compile(one, where) for one in arguments]
            runs = [
                converted(compiler, code, letters[min(number, len(letters) - 1)])
                for number, code in enumerate(codes)
            ]
            constant = all(code.constant for code in codes)
            if "s" in letters and not constant:
                code = Code(gives, weighed(work, runs))
            elif len(runs) == 1:
                only = runs[0]
                code = Code(gives, lambda node, frame: work(only(node, frame)), constant=constant)
            elif len(runs) == 2:
                one, other = runs
                code = Code(
                    gives,
                    lambda node, frame: work(one(node, frame), other(node, frame)),
                    constant=constant,
                )
            else:
                code = Code(
                    gives,
                    lambda node, frame: work(*[run(node, frame) for run in runs]),
                    constant=constant,
                )
            return compiler._folded(code)  # noqa: SLF001 - the table is the compiler's other half

        for name in names:
            FUNCTIONS[name] = Function(fewest, most, build, core)
        return plain

    return enter


def weighed(work: Callable[..., Any], runs: list[Run]) -> Run:
    """The work on texts, each of which is paid for where it is long."""
    if len(runs) == 1:
        only = runs[0]

        def one(node: Node, frame: Frame) -> Any:
            text = only(node, frame)
            return work(frame.read(text) if len(text) > LONG else text)

        return one

    def some(node: Node, frame: Frame) -> Any:
        given = [run(node, frame) for run in runs]
        for value in given:
            if value.__class__ is str and len(value) > LONG:
                frame.read(value)
        return work(*given)

    if len(runs) != 2:
        return some
    first, second = runs

    def two(node: Node, frame: Frame) -> Any:
        value, other = first(node, frame), second(node, frame)
        if value.__class__ is str and len(value) > LONG:
            frame.read(value)
        if other.__class__ is str and len(other) > LONG:
            frame.read(other)
        return work(value, other)

    return two


def converted(compiler: Compiler, code: Code, letter: str) -> Run:
    conversions = compiler.conversions
    if letter == "s":
        return conversions.string(code)
    if letter == "n":
        return conversions.number(code)
    if letter == "b":
        return conversions.truth(code)
    return conversions.nodes(code)
