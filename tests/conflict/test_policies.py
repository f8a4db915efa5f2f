"""A policy chooses what is shown and whether a person must look; it never discards."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conflict import BadPolicy, Policies, apply, fold, settle
from tests.conflict.small import said, word


def apart(field: str, *values, **policies):
    """The record of people who each gave one value, none having seen another's."""
    changes = [said(f"p{number}", number, {field: value}) for number, value in enumerate(values, 1)]
    return fold(changes, Policies(**policies))


NUMBERS = st.lists(st.integers(-999, 999), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(numbers=NUMBERS)
def test_max_min_sum_and_last_writer_agree_with_what_anyone_would_reckon(numbers: list[int]):
    texts = [str(number) for number in numbers]
    for policy, oracle in (
        ("max", max(numbers)),
        ("min", min(numbers)),
        ("sum", sum(numbers)),
        ("last-writer", numbers[-1]),
        ("immutable", numbers[0]),
    ):
        record = apart("dose", *texts, fields={"dose": policy})
        assert record.value("dose") == str(oracle)
        assert len(record.fields["dose"].live) == len(numbers)
        assert bool(record.clashes) == (policy == "immutable" and len(set(numbers)) > 1)


@settings(max_examples=200, deadline=None)
@given(sets=st.lists(st.frozensets(st.sampled_from("abcd"), min_size=1), min_size=1, max_size=5))
def test_a_union_shows_all_that_anyone_chose(sets: list[frozenset[str]]):
    record = apart("needs", *(tuple(sorted(each)) for each in sets), fields={"needs": "union"})
    assert record.value("needs") == tuple(sorted(frozenset().union(*sets)))
    assert record.clashes == ()


def test_the_greater_number_is_not_the_later_in_the_alphabet():
    assert apart("dose", "9", "10", fields={"dose": "max"}).value("dose") == "10"
    assert apart("dose", "9", "10.0", "10", fields={"dose": "max"}).value("dose") == "10"
    assert (
        apart("since", "2026-01-02", "2025-12-31", fields={"since": "min"}).value("since")
        == "2025-12-31"
    )


def test_money_is_added_without_a_rounding_error():
    assert apart("paid", "0.1", "0.2", None, fields={"paid": "sum"}).value("paid") == "0.3"


def test_a_sum_starts_anew_from_what_it_was_settled_on():
    policies = Policies(fields={"visits": "sum"})
    record = fold([said("bo", 1, {"visits": "2"}), said("cy", 2, {"visits": "3"})], policies)
    settled = apply(record, settle(record, "visits", "4", **word("sue", 3)))
    assert settled.value("visits") == "4"
    assert apply(settled, said("di", 4, {"visits": "1"})).value("visits") == "5"
    other = settle(record, "visits", "9", **word("tom", 5))
    (clash,) = apply(settled, other).clashes
    assert clash.values == ("4", "9")


def test_what_never_changes_keeps_its_first_value_even_from_who_knew_it():
    policies = Policies(fields={"village": "immutable"})
    first = said("bo", 1, {"village": "Kol"})
    record = fold([first, said("cy", 2, {"village": "Mar"}, ["bo-tablet:1"])], policies)
    assert record.value("village") == "Kol"
    (clash,) = record.clashes
    assert clash.values == ("Kol", "Mar")
    assert clash.suggestion.value == "Kol"
    settled = apply(record, settle(record, "village", "Mar", **word("sue", 3)))
    assert (settled.value("village"), settled.clashes) == ("Mar", ())


@pytest.mark.parametrize(
    "field",
    [
        *("name", "head_name", "first_name", "dob", "birth_date", "date_of_birth", "national_id"),
        *("id", "passport", "account_no", "iban", "mobile_money_number", "bank_branch"),
    ],
)
def test_names_birth_dates_identifiers_and_accounts_always_go_to_a_person(field: str):
    for path in (field, f"members/m1/{field}"):
        assert [clash.path for clash in apart(path, "1", "2").clashes] == [path]
    with pytest.raises(BadPolicy, match="a person always reviews"):
        Policies(fields={field: "last-writer"})


def test_a_field_whose_name_misleads_says_what_it_is():
    freely = Policies(fields={"bank_distance": "min"}, sorts={"bank_distance": "other"})
    changes = [said("bo", 1, {"bank_distance": "4"}), said("cy", 2, {"bank_distance": "3"})]
    assert fold(changes, freely).value("bank_distance") == "3"
    assert apart("card", "1", "2", sorts={"card": "identifier"}).clashes


def test_a_members_field_can_have_a_policy_of_its_own():
    policies = Policies(fields={"weight": "max", "members/weight": "min"})
    changes = [
        said(who, when, {"weight": value, "members/m1/weight": value})
        for who, when, value in (("bo", 1, "4"), ("cy", 2, "3"))
    ]
    record = fold(changes, policies)
    assert (record.value("weight"), record.value("members/m1/weight")) == ("4", "3")


def test_phones_and_answers_of_several_choices_are_united():
    assert apart("phone", "1", "2").value("phone") == ("1", "2")
    assert apart("phone", "1").value("phone") == "1"
    assert apart("assets", ("cow",), ("goat", "cow")).value("assets") == ("cow", "goat")
    assert apart("phone", "1", None).value("phone") == ("1",)


def test_changing_a_policy_works_everything_out_anew():
    changes = [said("bo", 1, {"size": "4"}), said("cy", 2, {"size": "3"})]
    for policy, shown in (("last-writer", "3"), ("max", "4"), ("sum", "7"), ("immutable", "4")):
        assert fold(changes, Policies(fields={"size": policy})).value("size") == shown
    assert fold(changes, Policies(fields={"size": "review"})).clashes
    assert fold(changes, Policies(default="review")).clashes
    assert fold(changes, Policies(default="max")).values == {"size": "4"}


# Form versions


def test_a_renamed_field_is_one_field_by_its_alias():
    policies = Policies(
        fields={"size": "last-writer"}, aliases={"people": "hh_size", "hh_size": "size"}
    )
    old = said("bo", 1, {"people": "4"}, form_version="1")
    new = said("cy", 2, {"size": "5"}, ["bo-tablet:1"], form_version="3")
    for order in ([old, new], [new, old]):
        record = fold(order, policies)
        assert dict(record.values) == {"size": "5"}
        assert record.value("people") == "5"
        assert record.fields["hh_size"].live[0].form_version == "3"
    assert record == apply(fold([old], policies), new)


def test_an_old_and_a_new_name_in_one_change_lose_neither_value():
    policies = Policies(aliases={"nickname": "name"})
    record = fold([said("bo", 1, {"nickname": "Al", "name": "Ali"})], policies)
    assert set(record.clashes[0].values) == {"Al", "Ali"}


def test_aliases_that_run_in_a_circle_are_refused():
    with pytest.raises(BadPolicy, match="circle: a -> b -> a"):
        Policies(aliases={"a": "b", "b": "a"})


@pytest.mark.parametrize(
    ("values", "policies", "reason"),
    [
        (("4", ("4", "5")), {}, "asks for one answer"),
        (("4", "many"), {"fields": {"size": "max"}}, "'many' cannot be compared"),
        (("many",), {"fields": {"size": "max"}}, "'many' cannot be compared"),
        (("4", "2026-01-01"), {"fields": {"size": "min"}}, "cannot be compared"),
        (("4", "NaN"), {"fields": {"size": "sum"}}, "'NaN' cannot be added up"),
        (("4", ("5",)), {"fields": {"size": "sum"}}, "['5'] cannot be added up"),
        (("1e999999999",), {"fields": {"size": "sum"}}, "cannot be added up"),
        (("many",), {"types": {"size": "number"}}, "'many' is not a number"),
        (("soon",), {"types": {"size": "date"}}, "'soon' is not a date"),
        ((("4",),), {"types": {"size": "text"}}, "['4'] is not a text"),
    ],
)
def test_a_type_that_changed_goes_to_a_person_and_never_to_a_crash(values, policies, reason):
    record = apart("size", *values, **policies)
    assert reason in record.clashes[0].reason
    assert record.values["size"] == record.value("size") == values[-1]
    settled = apply(record, settle(record, "size", "7", **word("sue", 9)))
    assert (settled.value("size"), settled.clashes) == ("7", ())


@pytest.mark.parametrize(
    ("policy", "shown"), [("max", None), ("min", None), ("sum", "0"), ("union", None)]
)
def test_a_field_that_everybody_left_empty_is_empty(policy: str, shown: str | None):
    record = apart("size", None, None, fields={"size": policy})
    assert (record.value("size"), record.clashes) == (shown, ())


def test_an_empty_answer_beside_a_full_one_suggests_the_full_one():
    (clash,) = apart("head_name", "Ali", None).clashes
    assert (clash.suggestion.value, clash.values) == ("Ali", ("Ali", None))


def test_what_more_devices_say_is_suggested():
    (clash,) = apart("head_name", "Ali", "Ali", "Aly").clashes
    assert clash.suggestion.value == "Ali"
    assert clash.suggestion.reason.startswith("2 devices say so")


# Policies are data


def test_policies_can_be_kept_as_json_and_given_as_a_plain_table():
    policies = Policies(
        fields={"size": "max"}, sorts={"x": "name"}, aliases={"a": "b"}, types={"size": "number"}
    )
    assert Policies.from_json(policies.to_json()) == policies
    assert Policies.from_json('{"phone": "union"}') == Policies(fields={"phone": "union"})


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("nothing", "no JSON"),
        ("[]", "JSON object"),
        ('{"size": "guess"}', "'guess' is no policy"),
        ('{"fields": {}, "sorts": {"x": "guess"}}', "'guess' is no kind of field"),
        ('{"fields": {}, "types": {"x": "guess"}}', "'guess' is no type"),
        ('{"fields": {}, "default": "guess"}', "no policy to default to"),
        ('{"fields": {}, "sorts": []}', "the sorts of policies"),
        ('{"fields": {}, "rules": {}}', "no part 'rules'"),
        ('{"fields": {"size": 3}}', "the fields of policies"),
    ],
)
def test_policies_that_cannot_be_followed_say_why(text: str, wrong: str):
    with pytest.raises(BadPolicy, match=wrong):
        Policies.from_json(text)
