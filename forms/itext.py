"""What a form says to people: its texts, in every language and form, with values woven in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forms.markup import BLANKS, kids, local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forms.language import Compiled
    from forms.markup import Element

XHTML = "{http://www.w3.org/1999/xhtml}"
_ESCAPED = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_QUOTED = {**_ESCAPED, ord('"'): "&quot;"}
MEDIA = ("image", "big-image", "audio", "video")
_SHOWN_APART = frozenset({"image", "audio", "video"})
"""The media that Web Forms knows."""


@dataclass(frozen=True, slots=True)
class Output:
    """A value woven into a text: the expression as the form's author wrote it."""

    expression: str


Parts = tuple[str | Output, ...]
"""A text as written: strings, and the values woven between them."""


@dataclass(slots=True, eq=False)
class Text:
    """A label or hint: written in place (`parts`), or kept in the translations.

    `itext` names the translation when the form does; `expression` works out the name, or the
    text itself (`named` tells which).
    """

    parts: Parts = ()
    itext: str = ""
    expression: Compiled | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Translations:
    """language -> id -> form ("" is the plain one) -> text. `default` is "" where there is none.

    `alone`: what a language does not say is not looked for in the default one, as in Web Forms.
    """

    default: str = ""
    texts: Mapping[str, Mapping[str, Mapping[str, Parts]]] = field(default_factory=dict)
    alone: bool = False

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.texts)

    def find(self, language: str, name: str, form: str = "") -> Parts | None:
        """The text in the language, else in the default one; None where neither has it."""
        for tongue in (language,) if self.alone else (language, self.default):
            said = self.texts.get(tongue, {}).get(name)
            if said is None:
                continue
            found = said.get(form)
            if found is None and form == "":
                found = said.get("long")
            if found is not None:
                return found
        return None


def parts_of(element: Element, *, browser: bool = False) -> Parts:
    """The text inside a label, hint or value, with its outputs kept apart.

    Of other markup Collect keeps XHTML, written out, and leaves out the rest; so it does blanks
    alone between two elements, and around the whole. A browser takes the text as it stands and
    leaves out all markup.
    """
    if not len(element):
        plain = element.text or ""
        plain = plain if browser else plain.strip(BLANKS)
        return (plain,) if plain else ()
    found: list[str | Output] = []
    _gather(element, found, browser=browser)
    woven: list[str | Output] = []
    for part in found:
        if isinstance(part, str) and woven and isinstance(woven[-1], str):
            woven[-1] += part
        elif part != "":
            woven.append(part)
    if not browser:
        if woven and isinstance(woven[0], str):
            woven[0] = woven[0].lstrip(BLANKS)
        if woven and isinstance(woven[-1], str):
            woven[-1] = woven[-1].rstrip(BLANKS)
    return tuple(part for part in woven if part != "")


def _gather(element: Element, found: list[str | Output], *, browser: bool) -> None:
    _said(element.text, found, browser=browser)
    for kid in kids(element):
        if local(kid) == "output":
            value = kid.get("value") or ("" if browser else kid.get("ref"))
            found.append(Output(value or "''"))
        elif not browser and str(kid.tag).startswith(XHTML):
            _written(kid, found, {})
        _said(kid.tail, found, browser=browser)


def _said(text: str | None, found: list[str | Output], *, browser: bool) -> None:
    if text and (browser or text.strip(BLANKS)):
        found.append(text)


def _written(element: Element, found: list[str | Output], known: dict[str, str]) -> None:
    """The element as Collect's serializer writes it: prefixes n0, n1, ... as they are needed."""
    space = str(element.tag).rpartition("}")[0].removeprefix("{")
    declared = ""
    if space and space not in known:
        known = {**known, space: f"n{len(known)}"}
        declared = f' xmlns:{known[space]}="{space}"'
    name = f"{known[space]}:{local(element)}" if space else local(element)
    said = "".join(
        f' {str(key).rpartition("}")[2]}="{str(value).translate(_QUOTED)}"'
        for key, value in element.attrib.items()
    )
    inside: list[str | Output] = []
    _inside(element.text, inside)
    for kid in kids(element):
        if local(kid) == "output":
            inside.append(Output(kid.get("value") or kid.get("ref") or "''"))
        else:
            _written(kid, inside, known)
        _inside(kid.tail, inside)
    if not inside:
        found.append(f"<{name}{said}{declared} />")
        return
    found.extend((f"<{name}{said}{declared}>", *inside, f"</{name}>"))


def _inside(text: str | None, found: list[str | Output]) -> None:
    if text and text.strip(BLANKS):
        found.append(text.translate(_ESCAPED))


def translations_of(itext: Element | None, *, browser: bool = False) -> Translations:
    """All translations of a form's <itext>; the default is the one marked so, else the first.

    In Web Forms (`browser`) a text is all of its forms that are no media, one after the other.
    """
    if itext is None:
        return Translations()
    texts: dict[str, dict[str, dict[str, Parts]]] = {}
    default = ""
    for translation in kids(itext):
        if local(translation) != "translation":
            continue
        language = translation.get("lang") or "default"
        table = texts.setdefault(language, {})
        if translation.get("default") is not None and not default:
            default = language
        for text in kids(translation):
            name = text.get("id")
            if local(text) != "text" or name is None:
                continue
            said = table.setdefault(name, {})
            for value in kids(text):
                if local(value) != "value":
                    continue
                form, parts = value.get("form") or "", parts_of(value, browser=browser)
                if browser and form not in _SHOWN_APART:
                    said[""] = (*said.get("", ()), *parts)
                if form or not browser:
                    said.setdefault(form, parts)
    return Translations(default or next(iter(texts), ""), texts, browser)
