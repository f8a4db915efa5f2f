"""What two visits to one household come to."""

from __future__ import annotations

import pytest

from conflict import (
    Dot,
    Forked,
    Mixed,
    Policies,
    Unanswerable,
    Unsound,
    Write,
    apply,
    as_of,
    compact,
    delete,
    explain,
    fold,
    fold_all,
    freezes_payment,
    from_json,
    frozen_paths,
    live_dots,
    merge,
    move,
    settle,
    settle_many,
    shared_members,
    to_json,
)
from conflict import settling as rules
from tests.conflict.small import said, word

BORN = said(
    "amina",
    1,
    {
        "exists": "yes",
        "head_name": "Ali",
        "size": "4",
        "account_no": "100",
        "members/m1/exists": "yes",
        "members/m1/name": "Zo",
    },
    kind="create",
)
FIRST = ["amina-tablet:1"]


def test_edits_of_different_fields_are_both_shown_and_nobody_is_asked():
    record = fold([BORN, said("bo", 2, {"size": "5"}, FIRST), said("cy", 3, {"village": "Kol"})])
    assert (record.value("size"), record.value("village")) == ("5", "Kol")
    assert record.clashes == ()


def test_two_names_given_apart_go_to_a_person_with_all_that_is_needed_to_judge():
    record = fold(
        [BORN, said("bo", 2, {"head_name": "Aly"}, FIRST), said("cy", 3, {"head_name": "Alee"})]
    )
    (clash,) = record.clashes
    assert (clash.record, clash.path) == ("h1", "head_name")
    # Cy had seen nothing, so Bo alone replaced what Amina wrote.
    assert [(one.value, one.author, one.device, one.at) for one in clash.candidates] == [
        ("Aly", "bo", "bo-tablet", "2026-03-01T02:00"),
        ("Alee", "cy", "cy-tablet", "2026-03-01T03:00"),
    ]
    assert [sorted(map(str, one.saw)) for one in clash.candidates] == [["amina-tablet:1"], []]
    assert clash.suggestion.value == "Alee"
    assert "cy wrote it last" in clash.suggestion.reason


def test_the_same_name_given_apart_is_no_disagreement():
    record = fold([said("bo", 2, {"head_name": "Ali"}), said("cy", 3, {"head_name": "Ali"})])
    assert record.clashes == ()


def test_a_device_that_edits_twice_offline_does_not_clash_with_itself():
    # Both edits saw only what was pulled before: a sent form cannot be read back.
    twice = [
        said("bo", 2, {"head_name": "Aly"}, FIRST),
        said("bo", 3, {"head_name": "Alia"}, FIRST),
    ]
    for order in (twice, twice[::-1]):
        record = fold([BORN, *order])
        assert (record.value("head_name"), record.clashes) == ("Alia", ())


def test_a_lie_about_what_was_seen_hides_no_answer():
    ring = [
        said("bo", 2, {"size": "5"}, ["cy-tablet:3"]),
        said("cy", 3, {"size": "6"}, ["bo-tablet:2"]),
        said("di", 4, {"size": "7"}),
    ]
    assert {one.value for one in fold(ring).fields["size"].live} == {"5", "6", "7"}


def test_an_account_that_clashes_freezes_payments_until_it_is_settled():
    record = fold(
        [
            BORN,
            said("bo", 2, {"account_no": "200"}, FIRST),
            said("cy", 3, {"account_no": "300"}, FIRST),
        ]
    )
    assert freezes_payment(record)
    assert frozen_paths(record) == ("account_no",)
    after = apply(record, settle(record, "account_no", "300", **word("sue", 9)))
    assert not freezes_payment(after)
    assert after.value("account_no") == "300"


def test_a_settlement_can_be_revised_and_an_answer_after_it_asks_again():
    record = fold([BORN, said("bo", 2, {"head_name": "Aly"})])
    once = apply(record, settle(record, "head_name", "Aly", **word("sue", 8)))
    revised = apply(once, settle(once, "head_name", "Ali", **word("tom", 9)))
    assert (revised.value("head_name"), revised.clashes) == ("Ali", ())
    later = apply(revised, said("cy", 10, {"head_name": "Alee"}, FIRST))
    (clash,) = later.clashes
    assert clash.values == ("Ali", "Alee")
    assert clash.suggestion.value == "Ali"
    assert "tom had settled on it" in clash.suggestion.reason


def test_a_batch_of_clashes_is_settled_by_a_rule_under_one_dot():
    def household(name: str):
        one = {"record": name}
        return fold(
            [
                said("bo", 2, {"head_name": "Aly", "account_no": "1"}, **one),
                said("cy", 3, {"head_name": "Alee", "account_no": "2"}, **one),
            ]
        )

    records = [household(name) for name in ("h1", "h2", "h3")]
    names = rules.only(rules.latest, "head_name")
    settled = settle_many(records, names, **word("sue", 9))
    assert {change.dot for change in settled} == {Dot("sue-tablet", 9)}
    for record, change in zip(records, settled, strict=True):
        after = apply(record, change)
        assert after.value("head_name") == "Alee"
        assert [clash.path for clash in after.clashes] == ["account_no"]
    by_bo = settle_many(records, rules.said_by("bo"), **word("sue", 9))
    assert apply(records[0], by_bo[0]).values == {"head_name": "Aly", "account_no": "1"}
    assert settle_many(records, lambda _: None, **word("sue", 9)) == ()


@pytest.mark.parametrize(
    ("rule", "name"), [("latest", "Alee"), ("earliest", "Aly"), ("as suggested", "Alee")]
)
def test_rules_have_names_that_a_page_can_show(rule: str, name: str):
    record = fold([said("bo", 2, {"head_name": "Aly"}), said("cy", 3, {"head_name": "Alee"})])
    (change,) = settle_many([record], rules.RULES[rule], **word("sue", 9))
    assert apply(record, change).value("head_name") == name


def test_a_rule_of_first_and_last_leaves_being_there_at_all_to_a_person():
    record = fold(
        [BORN, said("bo", 2, {"exists": "no"}, FIRST, kind="delete"), said("cy", 3, {"size": "6"})]
    )
    assert settle_many([record], rules.latest, **word("sue", 9)) == ()
    assert settle_many([record], rules.earliest, **word("sue", 9)) == ()
    assert settle_many([record], rules.said_by("bo"), **word("sue", 9)) == ()


# Members, deletion, moves


def test_a_member_deleted_by_who_had_seen_all_is_gone_and_nobody_is_asked():
    record = fold([BORN])
    after = apply(record, delete(record, member="m1", **word("bo", 2)))
    assert dict(after.members) == {}
    assert after.clashes == ()
    assert after.fields["members/m1/name"].shown == "Zo"


def test_a_deletion_loses_to_an_edit_that_it_had_not_seen_and_a_person_judges():
    record = fold([BORN])
    gone = delete(record, member="m1", **word("bo", 2))
    edit = said("cy", 3, {"members/m1/role": "child"}, FIRST)
    after = fold([BORN, gone, edit])
    assert after.members["m1"]["role"] == "child"
    (clash,) = after.clashes
    assert clash.path == "members/m1/exists"
    assert clash.suggestion.value == "yes"
    assert {(one.path, one.value) for one in clash.candidates} == {
        ("members/m1/exists", "no"),
        ("members/m1/role", "child"),
    }
    settled = apply(after, settle(after, "members/m1/exists", "no", **word("sue", 9)))
    assert (dict(settled.members), settled.clashes) == ({}, ())
    kept = apply(after, settle(after, "members/m1/exists", "yes", **word("sue", 9)))
    assert (list(kept.members), kept.clashes) == (["m1"], ())


def test_a_deletion_that_saw_one_submission_of_a_device_has_not_seen_an_earlier_one():
    # Batches are approved in any order: Bo saw Cy's second visit, and not the first.
    late = said("cy", 2, {"members/m1/role": "child"}, FIRST)
    early = said("cy", 3, {"members/m1/phone": "1"}, FIRST)
    gone = delete(fold([BORN, early]), member="m1", **word("bo", 4))
    assert fold([BORN, early, gone]).clashes == ()
    assert [clash.path for clash in fold([BORN, early, gone, late]).clashes] == [
        "members/m1/exists"
    ]


def test_a_record_deleted_while_another_edits_it_is_still_there():
    record = fold([BORN])
    after = fold([BORN, delete(record, **word("bo", 2)), said("cy", 3, {"size": "9"}, FIRST)])
    assert after.exists
    assert [clash.path for clash in after.clashes] == ["exists"]
    alone = apply(record, delete(record, **word("bo", 2)))
    assert (alone.exists, alone.clashes) == (False, ())


def test_a_person_moves_in_one_act_and_is_counted_once():
    home, to = fold([BORN]), fold([said("di", 1, {"exists": "yes"}, record="h2")])
    left, came = move("m1", home, to, **word("bo", 2))
    assert left.dot == came.dot
    home, to = apply(home, left), apply(to, came)
    assert list(home.members) == []
    assert to.members["m1"] == {"exists": "yes", "name": "Zo"}
    assert home.clashes == to.clashes == ()
    assert home.value("members/m1/exists") == "moved:h2"
    back_to, back_from = move("m1", to, home, **word("bo", 3))
    assert list(apply(home, back_from).members) == ["m1"]
    assert list(apply(to, back_to).members) == []


def test_two_moves_made_apart_meet_in_the_household_that_was_left():
    home = fold([BORN])
    second, third = (fold([said("di", 1, {"exists": "yes"}, record=each)]) for each in ("h2", "h3"))
    left_a, came_a = move("m1", home, second, **word("bo", 2))
    left_b, came_b = move("m1", home, third, **word("cy", 3))
    torn = fold([BORN, left_a, left_b])
    (clash,) = torn.clashes
    assert clash.values == ("moved:h2", "moved:h3")
    assert "two households" in clash.reason
    both = [torn, apply(second, came_a), apply(third, came_b)]
    assert [(each.member, each.households) for each in shared_members(both)] == [
        ("m1", ("h2", "h3"))
    ]


def test_an_edit_made_while_a_person_moved_does_not_bring_them_back_to_be_paid_twice():
    home, to = fold([BORN]), fold([said("di", 1, {"exists": "yes"}, record="h2")])
    left, came = move("m1", home, to, **word("bo", 2))
    after = fold([BORN, left, said("cy", 3, {"members/m1/role": "head"}, FIRST)])
    (clash,) = after.clashes
    assert clash.suggestion.value == "moved:h2"
    assert shared_members([after, apply(to, came)]) == ()


def test_a_deletion_and_a_move_made_apart_go_to_a_person():
    home, to = fold([BORN]), fold([said("di", 1, {"exists": "yes"}, record="h2")])
    left, _ = move("m1", home, to, **word("bo", 2))
    after = fold([BORN, left, delete(home, member="m1", **word("cy", 3))])
    (clash,) = after.clashes
    assert "deleted by one account and moved by another" in clash.reason


def test_who_is_not_there_is_neither_deleted_nor_moved():
    home, to = fold([BORN]), fold([said("di", 1, {"exists": "yes"}, record="h2")])
    with pytest.raises(Unanswerable, match="no member m7"):
        delete(home, member="m7", **word("bo", 2))
    with pytest.raises(Unanswerable, match="no member m7"):
        move("m7", home, to, **word("bo", 2))
    with pytest.raises(Unanswerable, match="already"):
        move("m1", home, home, **word("bo", 2))


# What was seen travels with an edit


def test_what_an_author_sees_is_what_is_live_and_a_deletion_sees_all_that_is_below():
    record = fold([BORN, said("bo", 2, {"size": "5"}), said("cy", 3, {"members/m1/role": "child"})])
    seen = live_dots(record, ["size", "members/m1/exists"])
    assert [str(dot) for dot in seen["size"]] == ["amina-tablet:1", "bo-tablet:2"]
    assert [str(dot) for dot in seen["members/m1/exists"]] == ["amina-tablet:1", "cy-tablet:3"]
    assert live_dots(record).keys() == record.fields.keys()


# Provenance


def test_every_shown_value_says_in_one_sentence_where_it_comes_from():
    record = fold([BORN, said("bo", 2, {"size": "5"}, FIRST), said("cy", 3, {"size": "6"})])
    assert explain(record, "size") == (
        "size is 6: written by cy on cy-tablet at 2026-03-01T03:00, replacing 4 by amina; the "
        "field is last-writer, so that it goes before 5 by bo on bo-tablet."
    )
    assert explain(record, "roof") == "roof is empty: nobody has written it."
    phones = fold([said("bo", 2, {"phone": "1"}), said("cy", 3, {"phone": "2"})])
    assert explain(phones, "phone") == (
        "phone is 1, 2: 1 written by bo on bo-tablet at 2026-03-01T02:00 and 2 written by cy on "
        "cy-tablet at 2026-03-01T03:00."
    )
    gone = apply(record, delete(record, **word("di", 4)))
    assert "exists is no: deleted by di on di-tablet" in explain(gone, "exists")
    named = fold([BORN, said("bo", 2, {"head_name": "Aly"})])
    assert explain(named, "head_name").endswith(
        "a person must look: 2 answers, each given without having seen the other."
    )


def test_the_record_is_told_as_it_stood_at_any_past_time():
    history = [BORN, said("bo", 2, {"size": "5"}, FIRST), said("cy", 7, {"size": "6"})]
    assert as_of(history, 0) is None
    assert [as_of(history, when).value("size") for when in (1, 2, 6, 7)] == ["4", "5", "5", "6"]


# Histories


def test_a_record_that_was_handed_out_never_changes():
    before = fold([BORN, said("bo", 2, {"size": "5"}, FIRST)])
    after = apply(before, said("cy", 3, {"size": "6"}, ["bo-tablet:2"]))
    assert (before.value("size"), after.value("size")) == ("5", "6")


def test_a_counter_used_twice_is_refused_by_name_wherever_it_shows():
    one, other = said("bo", 2, {"size": "5"}), said("bo", 2, {"size": "6"})
    for act in (
        lambda: fold([one, other]),
        lambda: merge([one], [other]),
        lambda: apply(fold([one]), other),
    ):
        with pytest.raises(Forked, match="bo-tablet:2"):
            act()
    assert apply(fold([one]), said("bo", 2, {"size": "5"})) == fold([one])


def test_changes_of_two_records_are_folded_apart():
    other = said("bo", 2, {"size": "5"}, record="h2")
    with pytest.raises(Mixed, match="h1 and of h2"):
        fold([BORN, other])
    with pytest.raises(Mixed, match="h2"):
        apply(fold([BORN]), other)
    with pytest.raises(Mixed, match="at least one"):
        fold([])
    found = fold_all([other, BORN])
    assert {name: record.value("size") for name, record in found.items()} == {"h1": "4", "h2": "5"}
    again = said("cy", 3, {"size": "3"})
    least = fold_all([BORN, again, other], {"households": Policies(fields={"size": "min"})})
    assert least["h1"].value("size") == "3"


def test_a_record_is_called_by_the_dataset_that_its_earliest_change_names():
    record = fold([said("bo", 1, {"size": "5"}, dataset=""), said("cy", 2, {"size": "6"})])
    assert record.dataset == "households"
    assert "Record(households h1" in repr(record)
    assert record != "h1"
    assert len({record, fold(record.changes)}) == 1
    assert fold([said("bo", 1, {"size": "5"}, dataset="")]).dataset == ""
    with pytest.raises(KeyError):
        record.fields["roof"]


def test_a_snapshot_answers_a_straggler_as_the_whole_history_would():
    # Bo's second visit is compacted before the first arrives; it must not come back to life.
    second = said("bo", 3, {"size": "6"}, FIRST)
    last = said("cy", 4, {"size": "7"}, ["bo-tablet:3"])
    straggler = said("bo", 2, {"size": "5"}, FIRST, effective=9)
    snapshot = compact([BORN, second, last], 5)
    assert fold([straggler, second], base=snapshot) == fold([BORN, second, last, straggler])
    assert fold([straggler], base=snapshot).value("size") == "7"
    with pytest.raises(Mixed, match="as old as 0"):
        compact([BORN], 0)
    assert compact([], 5, base=snapshot) == snapshot


def test_a_snapshot_leaves_out_what_nothing_can_turn_on_any_more():
    history = [BORN]
    for when in range(2, 40):
        seen = live_dots(fold(history), ["size"])
        history.append(said(("bo", "cy", "di")[when % 3], when, {"size": str(when)}, seen))
    snapshot = compact(history, 50)
    assert len(snapshot.absorbed) == 39
    assert sum(len(change.writes) for change in snapshot.kept) <= len(BORN.writes) + 3


# Words that are no changes


@pytest.mark.parametrize("text", ["", "bo", "bo:", ":1", "bo:x", "bo:-1", "bo:²"])
def test_what_is_no_dot_is_refused(text: str):
    with pytest.raises(Unsound, match="device:counter"):
        Dot.parse(text)


def test_a_device_may_be_named_with_colons():
    assert Dot.parse("a:b:7") == Dot("a:b", 7)
    assert str(Dot("a:b", 7)) == "a:b:7"


@pytest.mark.parametrize("counter", [2, 3])
def test_a_write_cannot_have_seen_its_own_future(counter: int):
    with pytest.raises(Unsound, match="had not made yet"):
        said("bo", 2, {"size": "5"}, [f"bo-tablet:{counter}"])


def test_a_change_of_no_known_kind_is_refused():
    with pytest.raises(Unsound, match="'guess' is none of"):
        said("bo", 2, {"size": "5"}, kind="guess")


def test_a_change_cannot_be_altered():
    change = said("bo", 2, {"size": "5"})
    with pytest.raises(TypeError):
        change.writes["size"] = Write("6")
    with pytest.raises(AttributeError):
        change.author = "cy"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "7",
        '{"r":"h1"}',
        to_json(BORN).replace('"e":1', '"e":"1"'),
        to_json(BORN).replace('"a":"amina"', '"a":7'),
        to_json(BORN).replace('"size":"4"', '"size":4'),
        to_json(BORN).replace('"size":"4"', '"size":["4",0]'),
        to_json(BORN).replace('"size":"4"', '"size":[]'),
        to_json(BORN).replace('"size":"4"', '"size":[[1]]'),
        to_json(BORN).replace('"w":{', '"w":[').replace("}}", "]}"),
        "[" * 100_000,
    ],
)
def test_json_that_is_no_change_is_refused(text: str):
    with pytest.raises(Unsound):
        from_json(text)


def test_only_what_was_asked_can_be_settled_and_only_by_what_can_be_so():
    record = fold([BORN])
    with pytest.raises(Unanswerable, match="no roof"):
        settle(record, "roof", "tin", **word("sue", 9))
    with pytest.raises(Unanswerable, match="yes, no or moved"):
        settle(record, "exists", "perhaps", **word("sue", 9))
