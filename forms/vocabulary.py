"""The words that an XLSForm is written in: headings, types, appearances, and what is near them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COLUMNS: Mapping[str, frozenset[str]] = {
    "survey": frozenset(
        (
            "type",
            "name",
            "label",
            "hint",
            "guidance_hint",
            "appearance",
            "required",
            "required_message",
            "relevant",
            "constraint",
            "constraint_message",
            "calculation",
            "choice_filter",
            "default",
            "read_only",
            "repeat_count",
            "trigger",
            "parameters",
            "save_to",
            "image",
            "audio",
            "video",
            "big-image",
            "autoplay",
            "disabled",
        )
    ),
    "choices": frozenset(("list_name", "name", "label", "image", "audio", "video", "big-image")),
    "settings": frozenset(
        (
            "form_title",
            "form_id",
            "version",
            "default_language",
            "instance_name",
            "style",
            "public_key",
            "submission_url",
            "allow_choice_duplicates",
            "auto_send",
            "auto_delete",
            "namespaces",
            "clean_text_values",
            "name",
            "instance_xmlns",
            "xmlns",
            "prefix",
            "delimiter",
            "sms_keyword",
            "sms_separator",
        )
    ),
}
OWN_HEADINGS = frozenset(("note", "notes", "comment", "comments", "title", "id_string"))
"""Other headings that mean something, or that authors use for themselves."""

TYPES = (
    "text",
    "integer",
    "decimal",
    "range",
    "note",
    "date",
    "time",
    "datetime",
    "calculate",
    "hidden",
    "acknowledge",
    "barcode",
    "image",
    "audio",
    "video",
    "file",
    "geopoint",
    "geotrace",
    "geoshape",
    "start",
    "end",
    "today",
    "deviceid",
    "username",
    "phonenumber",
    "email",
    "audit",
    "rank",
    "select_one",
    "select_multiple",
    "select_one_from_file",
    "select_multiple_from_file",
    "begin_group",
    "end_group",
    "begin_repeat",
    "end_repeat",
    "csv-external",
    "xml-external",
    "start-geopoint",
    "background-audio",
    "background-geopoint",
)

APPEARANCES = frozenset(
    (
        "multiline",
        "numbers",
        "url",
        "thousands-sep",
        "bearing",
        "vertical",
        "no-ticks",
        "picker",
        "rating",
        "new",
        "new-front",
        "draw",
        "annotate",
        "signature",
        "no-calendar",
        "month-year",
        "year",
        "ethiopian",
        "coptic",
        "islamic",
        "bikram-sambat",
        "myanmar",
        "persian",
        "placement-map",
        "maps",
        "hide-input",
        "minimal",
        "quick",
        "columns",
        "columns-pack",
        "no-buttons",
        "image-map",
        "likert",
        "map",
        "label",
        "list-nolabel",
        "list",
        "table-list",
        "autocomplete",
        "search",
        "field-list",
        "masked",
        "printer",
        "compact",
        "quickcompact",
        "horizontal",
        "horizontal-compact",
        "counter",
    )
)

EXPRESSIONS = (
    "relevant",
    "constraint",
    "required",
    "read_only",
    "calculation",
    "choice_filter",
    "repeat_count",
)


NEAR_MOST = 2_000
"""Among more words than these none is sought: a form of a hundred thousand mistakes is told of too."""


def near(name: str, known: Iterable[str], at_least: float = 0.7) -> str:
    """What is most likely meant by `name`, "" where nothing is near."""
    known = list(known)
    if len(known) > NEAR_MOST:
        return ""
    folded = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=at_least)
    return folded[close[0]] if close else ""


def meant(name: str, known: Iterable[str], written: str = "{}") -> str:
    close = near(name, known)
    return f"; is {written.format(close)} meant?" if close else ""
