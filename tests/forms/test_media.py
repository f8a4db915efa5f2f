"""Lists in files become nodes, whatever program wrote the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forms import media
from forms.media import BadMedia, blank, file_named, found, read_instance, rows

if TYPE_CHECKING:
    from forms.tree import Node

SAMPLES = Path(__file__).parents[2] / "samples"


def items(instance: Node) -> list[dict[str, str]]:
    (root,) = instance.kids["root"]
    return [{cell.name: cell.text for cell in item.children} for item in root.kids.get("item", ())]


TWO = [{"name": "a", "label": "Ä b"}, {"name": "c", "label": "d"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_reads_the_same_from_every_spreadsheet_program(
    delimiter: str, end: str, encoding: str
):
    text = end.join(delimiter.join(line) for line in (("name", "label"), ("a", "Ä b"), ("c", "d")))
    assert items(read_instance("x.csv", text.encode(encoding))) == TWO


def test_cells_may_be_quoted_and_hold_delimiters_quotes_and_line_ends():
    text = 'name,label\n"a,1","say ""hi""\nagain"\n'
    assert items(read_instance("x.csv", text.encode())) == [
        {"name": "a,1", "label": 'say "hi"\nagain'}
    ]


def test_a_short_line_ends_in_blanks_and_a_long_one_is_cut():
    text = b"name,label,more\na\nb,c,d,e\n"
    assert items(read_instance("x.csv", text)) == [
        {"name": "a", "label": "", "more": ""},
        {"name": "b", "label": "c", "more": "d"},
    ]


def test_a_file_with_only_a_heading_or_nothing_has_no_items():
    assert items(read_instance("x.csv", b"name,label")) == []
    assert items(read_instance("x.csv", b"name,label\r\n")) == []
    assert items(read_instance("x.csv", b"")) == []
    assert items(blank()) == []


def test_blank_lines_are_passed_over_unless_they_are_wanted():
    text = b"name,label\n\na,b\n\n"
    assert items(read_instance("x.csv", text)) == [{"name": "a", "label": "b"}]
    assert len(items(read_instance("x.csv", text, browser=True))) == 3


def test_the_sample_places_are_read_whole():
    villages = items(read_instance("villages.csv", (SAMPLES / "villages.csv").read_bytes()))
    assert len(villages) == 5_400
    assert villages[0]["district"] == "R01D01"


def test_every_node_knows_its_parent_and_its_place():
    instance = read_instance("x.csv", b"name\na\nb\n")
    second = instance.kids["root"][0].kids["item"][1]
    assert second.position == 2
    assert second.parent is instance.kids["root"][0]
    assert second.kids["name"][0].parent is second
    assert second.string_value() == "b"


def test_xml_is_taken_as_it_is():
    data = b'\xef\xbb\xbf<things><thing kind="x"><name>a</name></thing><thing/></things>'
    (things,) = read_instance("x.xml", data).kids["things"]
    assert len(things.kids["thing"]) == 2
    assert things.kids["thing"][0].attrs["kind"].text == "x"
    assert things.kids["thing"][0].kids["name"][0].text == "a"


def test_features_of_geojson_carry_their_geometry_in_odks_notation():
    point = {"type": "Point", "coordinates": [29.361, -3.381]}
    line = {"type": "LineString", "coordinates": [[1, 2], [3, 4, 99]]}
    area = {"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [1, 2]]]}
    features = [
        {
            "type": "Feature",
            "geometry": point,
            "properties": {"id": 67, "name": "Well", "ok": True},
        },
        {"type": "Feature", "id": "top", "geometry": line, "properties": {"id": "inner"}},
        {"type": "Feature", "geometry": area, "properties": None},
        {"type": "Feature", "geometry": None, "properties": {"deep": {"a": [1]}}},
    ]
    data = json.dumps({"type": "FeatureCollection", "features": features}).encode()
    assert items(read_instance("x.geojson", data)) == [
        {"geometry": "-3.381 29.361 0 0", "id": "67", "name": "Well", "ok": "true"},
        {"geometry": "2 1 0 0; 4 3 0 0", "id": "top"},
        {"geometry": "2 1 0 0; 4 3 0 0; 2 1 0 0"},
        {"geometry": "", "deep": '{"a": [1]}'},
    ]


FEATURE = b'{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": %s}]}'


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("x.csv", b"name\n\xe9t\xe9\n", "line 2"),
        ("x.csv", b"name\n" + b"a\n" * 600_000, "500,000"),
        ("x.csv", b'name\n"' + b"a" * 200_000, "line"),
        ("x.xml", b"<a>", "well-formed"),
        ("x.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ("x.xml", b"<a>" * 300 + b"</a>" * 300, "x.xml"),
        ("x.geojson", b"[" * 100_000, "JSON"),
        ("x.geojson", b"{}", "FeatureCollection"),
        ("x.geojson", b'{"type": "FeatureCollection"}', "features"),
        ("x.geojson", b'{"type": "FeatureCollection", "features": [1]}', "feature 1"),
        (
            "x.geojson",
            FEATURE % b'{"type": "Point", "coordinates": ["a", 1]}',
            "Point",
        ),
        (
            "x.geojson",
            FEATURE % b'{"type": "MultiPoint", "coordinates": []}',
            "MultiPoint",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name_and_place(name: str, data: bytes, says: str):
    with pytest.raises(BadMedia, match=r"x\.") as refused:
        read_instance(name, data)
    assert says in str(refused.value)


def test_a_file_over_the_budget_is_refused_unread(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(media, "BYTES_MAX", 10)
    with pytest.raises(BadMedia, match="10 is the most"):
        read_instance("x.csv", b"name\naaaaaaa\n")
    monkeypatch.setattr(media, "BYTES_MAX", 1_000)
    monkeypatch.setattr(media, "CELLS_MAX", 10)
    with pytest.raises(BadMedia, match="10 cells"):
        read_instance("x.csv", b"a,b,c\n" + b"1,2,3\n" * 5)


def test_a_file_is_found_by_its_address_or_by_its_name():
    assert file_named("jr://file-csv/places.csv") == "places.csv"
    assert file_named("jr://file/a/b.xml") == "a/b.xml"
    assert found("jr://file/x.csv", {"x.csv": b"1"}) == b"1"
    assert found("jr://file/x.csv", {"jr://file/x.csv": b"2", "x.csv": b"1"}) == b"2"
    assert found("jr://file/x.csv", {}) is None


def test_rows_are_read_by_column():
    assert list(rows("x.csv", b"a;b\n1;2\n")) == [{"a": "1", "b": "2"}]
