"""Every function of the language is there, says how many arguments it takes, and comes to what the
specification says: https://getodk.github.io/xforms-spec/#xpath-functions
"""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest

from forms.language.functions.table import FUNCTIONS
from forms.problems import BrokenForm
from forms.xlsform import compile_xlsform
from tests.forms.spec.told import Case, ours, xform
from tests.forms.workbooks import markdown, survey

# By subject; each with the fewest and the most arguments that it takes (None: any number).
STRING = {
    "string": (1, 1), "concat": (0, None), "join": (1, None), "substr": (2, 3),
    "substring-before": (2, 2), "substring-after": (2, 2), "translate": (3, 3),
    "string-length": (1, 1), "normalize-space": (0, 1), "contains": (2, 2),
    "starts-with": (2, 2), "ends-with": (2, 2), "regex": (2, 2), "digest": (2, 3),
    "base64-decode": (1, 1), "extract-signed": (2, 2), "uuid": (0, 1), "pulldata": (4, 4),
    "substring": (2, 3), "name": (0, 1), "local-name": (0, 1), "namespace-uri": (0, 1),
    "lang": (1, 1), "id": (1, 1),
}  # fmt: skip
TRUTH = {
    "if": (3, 3), "coalesce": (2, 2), "once": (1, 1), "true": (0, 0), "false": (0, 0),
    "boolean": (1, 1), "boolean-from-string": (1, 1), "not": (1, 1), "checklist": (2, None),
    "weighted-checklist": (2, None),
}  # fmt: skip
NUMBER = {
    "number": (1, 1), "random": (0, 0), "int": (1, 1), "sum": (1, 1), "max": (1, None),
    "min": (1, None), "round": (1, 2), "pow": (2, 2), "log": (1, 1), "log10": (1, 1),
    "abs": (1, 1), "sin": (1, 1), "cos": (1, 1), "tan": (1, 1), "asin": (1, 1), "acos": (1, 1),
    "atan": (1, 1), "atan2": (2, 2), "sqrt": (1, 1), "exp": (1, 1), "exp10": (1, 1), "pi": (0, 0),
    "floor": (1, 1), "ceiling": (1, 1),
}  # fmt: skip
NODES = {
    "count": (1, 1), "count-non-empty": (1, 1), "position": (0, 1), "last": (0, 0),
    "instance": (1, 1), "current": (0, 0), "randomize": (1, 2), "indexed-repeat": (3, 7),
}  # fmt: skip
DATE = {
    "today": (0, 0), "now": (0, 0), "date": (1, 1), "date-time": (1, 1), "format-date": (2, 2),
    "format-date-time": (2, 2), "decimal-date-time": (1, 1), "decimal-time": (1, 1),
}  # fmt: skip
CHOSEN = {
    "selected": (2, 2), "selected-at": (2, 2), "count-selected": (1, 1), "jr:choice-name": (2, 2),
    "is-selected": (2, 2),
}  # fmt: skip
OTHERS = {
    "jr:itext": (1, 1), "area": (1, None), "enclosed-area": (1, None), "distance": (1, None),
    "geofence": (2, 2), "intersects": (1, 1), "depend": (1, None), "property": (1, 1),
    "version": (0, 0),
}  # fmt: skip
ALL = {**STRING, **TRUTH, **NUMBER, **NODES, **DATE, **CHOSEN, **OTHERS}


def test_the_language_has_these_functions_and_no_others():
    assert set(ALL) == set(FUNCTIONS)
    # The checklist's 80, and XPath's own that only a browser has.
    assert len(ALL) == 88


def refusal(expression: str) -> str:
    """What an author is told whose calculation this is, in row 3."""
    sheets = survey("calculation", "text|a|A|", f"calculate|found||{expression}")
    with pytest.raises(BrokenForm) as refused:
        compile_xlsform("form.md", markdown(sheets))
    (problem,) = refused.value.problems
    assert (problem.sheet, problem.row, problem.question) == ("survey", 3, "found")
    return problem.reason


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_number_of_arguments_is_refused_by_question_and_row(name: str):
    least, most = ALL[name]
    if least:
        told = refusal(f"{name}({', '.join(['1'] * (least - 1))})")
        assert f"{name}() takes" in told
        assert f"not {least - 1}" in told
    if most is not None:
        told = refusal(f"{name}({', '.join(['1'] * (most + 1))})")
        assert f"{name}() takes" in told
        assert f"not {most + 1}" in told


def test_a_function_that_nobody_has_is_refused_by_question_and_row():
    assert "there is no function strlen()" in refusal("strlen('a')")
    # ODK's names are written in small letters, and with a hyphen.
    assert "there is no function Today()" in refusal("Today()")


DATA = """<a>7</a><b/><words>one two</words><big>20</big><many>red green</many>
  <day>2024-02-29</day><moment>2024-02-29T12:00:00.000Z</moment><clock>06:00:00.000Z</clock>
  <yes>true</yes><lines>one two&#10;three&#9;four</lines><shape>0 0 0 0;0 1 0 0;1 1 0 0;1 0 0 0;0 0 0 0</shape>
  <bow>0 0 0 0;1 1 0 0;0 1 0 0;1 0 0 0</bow><spot>0.5 0.5 0 0</spot>
  <r><n>1</n><k>x</k></r><r><n>2</n><k/></r><r><n>3.5</n><k>z</k></r>"""
TYPES = {
    "a": "int", "big": "int", "day": "date", "moment": "dateTime", "clock": "time",
    "yes": "boolean", "shape": "geoshape", "bow": "geotrace", "spot": "geopoint", "r/n": "decimal",
}  # fmt: skip
LIST = """<instance id="l"><root>
  <item><v>red</v><t>Red wine</t><w>3</w></item><item><v>green</v><t>Green tea</t><w>5</w></item>
  </root></instance>
  <itext><translation lang="en"><text id="hi"><value>Hello</value></text></translation></itext>"""
BODY = """<input ref="/data/a"/><select ref="/data/many"><itemset nodeset="instance('l')/root/item">
  <value ref="v"/><label ref="t"/></itemset></select>
  <group ref="/data/r"><repeat nodeset="/data/r"><input ref="/data/r/n"/></repeat></group>"""
KEY = "MCowBQYDK2VwAyEA"


def expression(text: str, expected: str, *, says: str = "", stops: str = "") -> Case:
    """A calculation beside the data above, and what it is stored as."""
    model = "".join(
        f'<bind nodeset="/data/{path}" type="{type_}"/>' for path, type_ in TYPES.items()
    )
    calculated = escape(text, {'"': "&quot;"})
    model += f'<bind nodeset="/data/found" type="string" calculate="{calculated}"/>{LIST}'
    form = xform(f"{DATA}<found/>", model, BODY)
    return Case(form, (("init", {"/data/found": expected}),), says, stops)


LACKS = "JavaRosa does not have the function; Collect adds it, or only a browser has it"
VALUES: dict[str, str] = {
    # -- texts
    "string(/data/a)": "7",
    "string(true())": "true",
    "string(date('2024-02-29'))": "2024-02-29",
    "string(/data/day)": "2024-02-29",
    "concat(string(date('2024-02-29')) + 1, '')": "NaN",
    "concat('a', /data/a, 1 + 1)": "a72",
    "concat(/data/r/n)": "123.5",
    "join('-', 'a', 'b', 'c')": "a-b-c",
    "join(', ', /data/r/n)": "1, 2, 3.5",
    "substr('hello', 1, 3)": "el",
    "substr('hello', 2)": "llo",
    "substr('hello', -3)": "llo",
    "substr('hello', 1, -1)": "ell",
    "substring-before('2024-05', '-')": "2024",
    "substring-before('2024', '-')": "",
    "substring-after('2024-05-06', '-')": "05-06",
    "translate('aabbcc', 'abc', 'AB')": "AABB",
    "string-length('héllo')": "5",
    # Java counts halves of what is beyond U+FFFF.
    "string-length('😀a')": "3",
    "substr('😀a', 2)": "a",
    "substr('a😀b', 1, 3)": "😀",
    "substr('a😀b', -1)": "b",
    "normalize-space('  a   b ')": "a b",
    "contains('abc', 'bc')": "1",
    "starts-with('abc', 'ab')": "1",
    "ends-with('abc', 'ab')": "0",
    "regex('A12', '[A-Z][0-9]+')": "1",
    "regex('xA12', '[A-Z][0-9]+')": "0",
    "digest('some text', 'MD5', 'hex')": "552e21cd4cd9918678e3c1a0df491bc3",
    "digest('some text', 'SHA-1', 'hex')": "37aa63c77398d954473262e1a0057c1e632eda77",
    "digest('abc', 'SHA-256', 'hex')": (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    ),
    "digest('', 'MD5')": "1B2M2Y8AsgTpgAmY7PhCfg==",
    "base64-decode('SGVsbG8gd29ybGQ=')": "Hello world",
    "extract-signed('bm90aGluZw==', 'bm90aGluZw==')": "",
    "string-length(uuid())": "36",
    "string-length(uuid(12))": "12",
    "regex(uuid(40), '[0-9A-Z]{40}')": "1",
    "regex(uuid(), '[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')": "1",
    # -- truths
    "if(/data/a > 5, 'much', 'little')": "much",
    "if(/data/b, 1, 2)": "2",
    "coalesce(/data/b, 'else')": "else",
    "coalesce('first', 'else')": "first",
    "once('x')": "x",
    "true()": "1",
    "false()": "0",
    "boolean(0)": "0",
    "boolean('false')": "1",
    "boolean-from-string('false')": "0",
    "boolean-from-string('1')": "1",
    "not(/data/a > 5)": "0",
    "checklist(1, 2, true(), true(), false())": "1",
    "checklist(1, 2, true(), true(), true())": "0",
    "checklist(-1, 1, false())": "1",
    "weighted-checklist(5, 7, true(), 2, true(), 4, false(), 9)": "1",
    # -- numbers
    "number('12.50')": "12.5",
    "number('x')": "",
    "random() < 1 and random() >= 0": "1",
    "int(3.99)": "3",
    "int(-3.99)": "-3",
    "sum(/data/r/n)": "6.5",
    "sum(/data/r/k)": "0",
    "max(/data/r/n)": "3.5",
    "max(1, 12, /data/a)": "12",
    "min(/data/r/n)": "1",
    "round(2.5)": "3",
    "round(-2.5)": "-2",
    "round(12.345, 2)": "12.35",
    "round(1234, -2)": "1200",
    "pow(2, 10)": "1024",
    "pow(2, -1)": "0.5",
    "log(exp(2))": "2",
    "log10(1000)": "3",
    "abs(-2.5)": "2.5",
    "round(sin(pi() div 6), 6)": "0.5",
    "round(cos(pi() div 3), 6)": "0.5",
    "round(tan(pi() div 4), 6)": "1",
    "round(asin(1) * 2 - pi(), 9)": "0",
    "acos(2)": "",
    "round(atan(1) * 4 - pi(), 9)": "0",
    "round(atan2(-1, -1), 6)": "-2.356194",
    "sqrt(2.25)": "1.5",
    "exp10(3)": "1000",
    "pi()": "3.141592653589793",
    # -- nodes
    "count(/data/r)": "3",
    "count(/data/r[n > 1.5])": "2",
    "count-non-empty(/data/r/k)": "2",
    "position(/data/r)": "1",
    "count(/data/r[position() < 3])": "2",
    "instance('l')/root/item[v = 'green']/t": "Green tea",
    "count(instance('l')/root/item[w > current()/../a])": "0",
    "indexed-repeat(/data/r/n, /data/r, 2)": "2",
    "count(randomize(instance('l')/root/item, 42))": "2",
    # -- dates; a leap year
    "date('2024-02-29') + 1": "19783",
    "format-date(date(19782), '%Y-%m-%d')": "2024-02-29",
    "format-date(/data/day, '%e %b %Y')": "29 Feb 2024",
    "format-date(/data/day, '%Y %y %m %n %b %d %e %a')": "2024 24 02 2 Feb 29 29 Thu",
    "format-date-time(/data/moment, '%Y-%m-%dT%H:%h:%M:%S.%3')": "2024-02-29T12:12:00:00.000",
    "decimal-date-time(/data/moment)": "19782.5",
    "decimal-date-time(/data/day)": "19782",
    "decimal-time(/data/clock)": "0.25",
    "date-time('2024-02-29T12:00:00Z') = /data/moment": "1",
    "today() = date(now())": "1",
    "today() <= now()": "1",
    # -- selections
    "selected(/data/many, 'green')": "1",
    "selected(/data/many, 'gree')": "0",
    "is-selected(/data/many, 'red')": "1",
    "selected-at(/data/many, 0)": "red",
    "selected-at(/data/many, 5)": "",
    "count-selected(/data/many)": "2",
    "count-selected('')": "0",
    "count-selected(' a  b ')": "2",
    "selected-at(' a  b ', 1)": "b",
    # Only blanks part choices, and what is looked for is a piece of the text between blanks.
    "count-selected(/data/lines)": "2",
    "selected-at(/data/lines, 1)": "two\nthree\tfour",
    "selected(/data/lines, ' one ')": "1",
    "selected(/data/lines, 'three')": "0",
    "selected('a b c', 'a b')": "1",
    "selected(' 7 ', '')": "1",
    "selected('7', '')": "0",
    "selected('', ' ')": "1",
    "jr:choice-name('green', '/data/many')": "Green tea",
    "jr:itext('hi')": "Hello",
    # -- places, see test_places.py
    "round(area(/data/shape) div 1000000000)": "12",
    "enclosed-area(/data/shape) = area(/data/shape)": "1",
    "round(distance(/data/shape) div 1000)": "445",
    "geofence(/data/spot, /data/shape)": "1",
    # -- what JavaRosa has besides
    "property('deviceid')": "found",
    "depend(/data/a, /data/b)": "7",
    "version()": "",
    # -- operators
    "7 div 2": "3.5",
    "-7 mod 3": "-1",
    "2 + 3 * 4 - 1": "13",
    "- - 3": "3",
    "1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3 and 1 != 2": "1",
    "1 = 2 or 2 = 2": "1",
    "/data/a = '7'": "1",
    "'' = 0": "0",
    "/data/b = ''": "1",
    "../a + 1": "8",
    "./../a": "7",
    "/data/r[2]/n": "",
    "/data/r[position() = 2]/n": "2",
    "/data/r[n > 1][k != '']/n": "3.5",
}
ONLY_HERE: dict[str, str] = {
    "pulldata('l', 't', 'v', 'red')": "Red wine",
    "substring('12345', 2, 3)": "234",
    "ceiling(1.2)": "2",
    "floor(-1.2)": "-2",
    "name(/data/a)": "a",
    "local-name(/data/a)": "a",
    "namespace-uri(/data/a)": "http://www.w3.org/2002/xforms",
    "count(/data/r[position() = last()])": "1",
    "lang('en')": "0",
    "id('nowhere')": "",
    "intersects(/data/bow)": "1",
    "intersects(/data/shape)": "0",
}
CASES = {
    **{text: expression(text, said) for text, said in VALUES.items()},
    **{text: expression(text, said, stops=LACKS) for text, said in ONLY_HERE.items()},
}


@pytest.mark.parametrize("text", CASES)
def test_an_expression_comes_to_what_the_specification_says(text: str):
    assert ours(text, CASES[text]) == []


def test_a_union_of_nodes_is_for_browsers_alone():
    one = expression("count(/data/a | /data/b)", "2")
    assert ours("union", Case(one.form, one.acts, dialect="webforms")) == []
    (told,) = ours("union", one)
    assert "Collect has no union of nodes" in told


def test_each_function_has_a_value_written_out():
    said = " ".join(CASES)
    assert [name for name in ALL if f"{name}(" not in said] == []
