"""Ranges, ranks, acknowledgements, other answers, shuffled choices, and what fills itself in.

Sources: https://getodk.github.io/xforms-spec/#body-elements and https://docs.getodk.org/form-question-types/
"""

from __future__ import annotations

import pytest

from tests.forms.spec.told import Case, ours, xform

LETTERS = "".join(f"<item><n>{each}</n><l>{each.upper()}</l></item>" for each in "abcdef")
LIST = f'<instance id="l"><root>{LETTERS}</root></instance>'
FEW = '<instance id="l"><root><item><n>a</n></item><item><n>b</n></item><item><n>c</n></item></root></instance>'


def _chosen(kind: str, nodeset: str = "instance('l')/root/item", label: str = "n") -> str:
    return (
        f'<{kind} ref="/data/a"><itemset nodeset="{nodeset}"><value ref="n"/>'
        f'<label ref="{label}"/></itemset></{kind}>'
    )


def _range(kind: str, bounds: str) -> str:
    bind = f'<bind nodeset="/data/a" type="{kind}"/>'
    return xform("<a/>", bind, f'<range ref="/data/a" {bounds}><label>x</label></range>')


TWO = 'start="1" end="10" step="2"'
RANKED = xform(
    "<a/><first/>",
    '<bind nodeset="/data/a" type="odk:rank"/>'
    '<bind nodeset="/data/first" calculate="selected-at(/data/a, 0)"/>' + FEW,
    _chosen("odk:rank"),
)
OTHER = """
    | survey |
    | | type | name | label |
    | | select_one yn or_other | a | A |
    | | select_multiple yn or_other | m | M |
    | choices |
    | | list_name | name | label |
    | | yn | yes | Yes |
    | | yn | no | No |
    """
SHUFFLED = """
    | survey |
    | | type | name | label | parameters |
    | | {kind} | s | Seed | |
    | | select_one c | a | A | randomize=true, seed={seed} |
    | choices |
    | | list_name | name | label |
    | | c | A | a |
    | | c | B | b |
    | | c | C | c |
    | | c | D | d |
    | | c | E | e |
    | | c | F | f |
    """
BOTH = """
    | settings |
    | | default_language |
    | | en |
    | survey |
    | | type | name | label::en | label::fr |
    | | text | a | A | Ah |
    """
PRELOADED = {
    "uid": ("string", "uid", ""),
    "start": ("dateTime", "timestamp", "start"),
    "end": ("dateTime", "timestamp", "end"),
    "day": ("date", "date", "today"),
    "deviceid": ("string", "property", "deviceid"),
    "email": ("string", "property", "email"),
    "username": ("string", "property", "username"),
    "phonenumber": ("string", "property", "phonenumber"),
    "simserial": ("string", "property", "simserial"),
    "subscriberid": ("string", "property", "subscriberid"),
    "uri": ("string", "property", "uri:deviceid"),
}

CASES = {
    "a range of whole numbers": Case(
        _range("int", TWO),
        (
            ("init", {"/data/a": ""}),
            ("/data/a = 3", {"/data/a": "3"}),
            # A client offers the steps only; the engine keeps what it is given.
            ("/data/a = 2", {"/data/a": "2"}),
            ("/data/a = x", {"/data/a": ""}),
        ),
    ),
    "an entry read back speaks the default language": Case(
        BOTH,
        (
            ("init", {"/data/a label": "A"}),
            ("language fr", {"/data/a label": "Ah"}),
            ("/data/a = x", {"/data/a label": "Ah"}),
            ("save_restore", {"/data/a": "x", "/data/a label": "A"}),
            ("language fr", {"/data/a label": "Ah"}),
        ),
    ),
    "a range whose end is on no step": Case(
        _range("int", 'start="1" end="10" step="4"'),
        (("init", {}), ("/data/a = 9", {"/data/a": "9"}), ("/data/a =", {"/data/a": ""})),
    ),
    "a range of decimals": Case(
        _range("decimal", 'start="0.5" end="2.5" step="0.25"'),
        (
            ("init", {}),
            ("/data/a = 0.75", {"/data/a": "0.75"}),
            ("/data/a = 2", {"/data/a": "2.0"}),
        ),
    ),
    "a range that goes down": Case(
        _range("int", 'start="10" end="1" step="-3"'),
        (("init", {}), ("/data/a = 7", {"/data/a": "7"})),
    ),
    "a range below zero in small steps": Case(
        _range("decimal", 'start="-1" end="1" step="0.1"'),
        (("init", {}), ("/data/a = -0.3", {"/data/a": "-0.3"})),
    ),
    "in a browser a number outside the range is none": Case(
        _range("int", TWO),
        (
            ("init", {}),
            ("/data/a = 10", {"/data/a": "10"}),
            ("/data/a = 11", {"/data/a": ""}),
            ("/data/a = 0", {"/data/a": ""}),
            ("/data/a = 1", {"/data/a": "1"}),
        ),
        dialect="webforms",
    ),
    "in a browser nothing is within a range that goes down": Case(
        _range("int", 'start="10" end="1" step="-3"').replace("<a/>", "<a>7</a>"),
        (("init", {"/data/a": ""}), ("/data/a = 7", {"/data/a": ""})),
        dialect="webforms",
    ),
    "a rank keeps the order in which it is given": Case(
        RANKED,
        (
            ("init", {"/data/a choices": "a b c"}),
            ("/data/a = c a b", {"/data/a": "c a b", "/data/first": "c"}),
            ("/data/a = b a", {"/data/a": "b a", "/data/first": "b"}),
            ("/data/a =", {"/data/a": "", "/data/first": ""}),
        ),
    ),
    "in a browser a rank is of all choices": Case(
        RANKED.replace("<a/>", "<a>b a</a>"),
        (
            ("init", {"/data/a": "b a c", "/data/first": "b"}),
            ("/data/a = c a b", {"/data/a": "c a b", "/data/first": "c"}),
            ("/data/a = b a", {"error": "c is missing"}),
            ("/data/a =", {"/data/a": ""}),
        ),
        dialect="webforms",
    ),
    "an acknowledgement is OK or nothing": Case(
        xform(
            "<a/><b/>",
            '<bind nodeset="/data/b" relevant="/data/a = \'OK\'"/>'
            '<bind nodeset="/data/a" required="true()"/>',
            '<trigger ref="/data/a"><label>Sure?</label></trigger><input ref="/data/b"/>',
        ),
        (
            ("init", {"fault": "/data/a required", "/data/b rel": False}),
            ("/data/a = OK", {"/data/a": "OK", "/data/b rel": True, "fault": ""}),
            ("/data/a =", {"/data/b rel": False, "fault": "/data/a required"}),
        ),
        says="the value of a trigger is OK",
    ),
    "a note is nothing that is asked": Case(
        "| survey |\n| | type | name | label |\n| | integer | a | A |\n| | note | n | You said ${a} |",
        (
            ("init", {"/data/n ro": True, "/data/n label": "You said "}),
            ("/data/a = 5", {"/data/n label": "You said 5", "/data/n": ""}),
        ),
    ),
    "another answer than those of the list": Case(
        OTHER,
        (
            ("init", {"/data/a choices": "yes no other", "/data/a_other rel": False}),
            ("/data/a = other", {"/data/a_other rel": True, "/data/m_other rel": False}),
            ("/data/a_other = maybe", {"xml": "<a_other>maybe</a_other>"}),
            ("/data/m = yes other", {"/data/m_other rel": True}),
            ("/data/a = no", {"/data/a_other rel": False, "xml": "<a>no</a><m>"}),
        ),
        says="https://docs.getodk.org/form-question-types/#including-other-as-a-choice",
    ),
    "choices shuffled by the seed of the specification": Case(
        SHUFFLED.format(kind="text", seed="42"),
        (("init", {"/data/a choices": "A F C B D E"}),),
        says="the specification's own example for Park-Miller and Fisher-Yates, seed 42",
    ),
    "choices shuffled by a seed that an answer gives": Case(
        SHUFFLED.format(kind="integer", seed="${s}"),
        (
            ("init", {}),
            ("/data/s = 42", {"/data/a choices": "A F C B D E"}),
            ("/data/s = -42", {"/data/a choices": "E D A F B C"}),
            ("/data/s = 42", {"/data/a choices": "A F C B D E"}),
        ),
    ),
    "choices shuffled by a seed that is a word, to the last bit of its SHA-256": Case(
        SHUFFLED.format(kind="text", seed="${s}"),
        (
            ("init", {}),
            ("/data/s = hello", {"/data/a choices": "C B A E D F"}),
            ("/data/s = abc", {"/data/a choices": "A C B E F D"}),
            ("/data/s = 42", {"/data/a choices": "A F C B D E"}),
        ),
        says="as ODK Web Forms 0.22 shuffles them",
        stops="the JavaRosa in pyxform's wheel lacks the library that makes the digest",
    ),
    "what the device fills in by itself": Case(
        xform(
            "".join(f"<{name}/>" for name in PRELOADED) + "<a/>",
            "".join(
                f'<bind nodeset="/data/{name}" type="{kind}" jr:preload="{what}" '
                f'jr:preloadParams="{which}"/>'
                for name, (kind, what, which) in PRELOADED.items()
            ),
            '<input ref="/data/a"/>',
        ),
        (
            (
                "init",
                {
                    "/data/uid": "uuid:*",
                    # A clock's moment is masked where the two engines tell it.
                    "/data/start": "now",
                    "/data/end": "",
                    **{
                        f"/data/{name}": "found"
                        for name, (_, what, _) in PRELOADED.items()
                        if what == "property"
                    },
                },
            ),
            ("save_restore", {"/data/uid": "uuid:*", "/data/start": "now", "/data/end": ""}),
        ),
        says="https://getodk.github.io/xforms-spec/#preload-attributes",
    ),
    "a choice that is not offered any more is taken back": Case(
        xform(
            "<b/><a/>",
            FEW,
            '<input ref="/data/b"/>' + _chosen("select", "instance('l')/root/item[n != /data/b]"),
        ),
        (
            ("init", {"/data/a choices": "a b c"}),
            ("/data/a = b c", {"/data/a": "b c"}),
            ("/data/b = b", {"/data/a choices": "a c", "xml": "<a>c</a>"}),
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_question_is_as_its_kind_has_it(name: str):
    assert ours(name, CASES[name]) == []


def test_an_end_is_stamped_when_the_entry_is_finished_and_today_is_a_day():
    from forms import Entry, Form
    from tests.forms.test_entry import context

    case = CASES["what the device fills in by itself"]
    entry = Entry.start(Form.load(case.form), context(properties={"deviceid": "d"}))
    assert [entry.find(f"/data/{one}").text for one in ("day", "deviceid", "email", "end")] == [
        "2026-03-04",
        "d",
        "",
        "",
    ]
    finished = entry.finish().xml.decode()
    assert "<end>2026-03-04T05:06:07.000Z</end>" in finished
    assert "<start>2026-03-04T05:06:07.000Z</start>" in finished
