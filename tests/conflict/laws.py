"""What must hold of every history: the tests ask a thousand, the campaign a hundred thousand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conflict import (
    EXISTS,
    Change,
    Dot,
    Policies,
    apply,
    as_of,
    compact,
    explain,
    fold,
    from_json,
    live_dots,
    merge,
    settle,
    to_json,
    written,
)
from tests.conflict import oracle

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.conflict.worlds import World


def merging_is_a_union(made: World, luck: random.Random) -> None:
    a, b, c = ([x for x in made.made if luck.random() < 0.6] for _ in range(3))
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, a) == merge(a, ())
    assert set(merge(a, b)) == set(a) | set(b)


def order_and_repetition_do_not_show(made: World, luck: random.Random) -> None:
    again = made.made + luck.sample(made.made, len(made.made) // 2)
    luck.shuffle(again)
    assert fold(again, made.policies) == fold(made.made, made.policies)


def devices_and_server_converge(made: World, luck: random.Random) -> None:
    """Each peer hears every change at least once, one at a time, some of them again."""
    told = fold(made.arrived, made.policies)
    for _ in range(2):
        heard = made.made + luck.sample(made.made, len(made.made) // 3)
        luck.shuffle(heard)
        record = fold(heard[:1], made.policies)
        for change in heard[1:]:
            record = apply(record, change)
        assert record == told
        assert dict(record.values) == {path: field.shown for path, field in told.fields.items()}


def no_write_is_silently_dropped(made: World, luck: random.Random) -> None:
    del luck
    record = fold(made.made, made.policies)
    clashes = {clash.path: clash for clash in record.clashes}
    for path in {made.policies.path(name) for change in made.made for name in change.writes}:
        writes = oracle.writes_at(made.made, made.policies, path)
        field = record.fields[path]
        live = {one.dot for one in field.live}
        replaced = {one.dot for one in field.provenance.replaced}
        for one in writes:
            dot = one[0].dot
            if any(oracle.knew(other, one) for other in writes):
                assert dot in replaced, (path, dot)
                continue
            assert dot in live, (path, dot)
            answer = one[1].value
            if made.policies.policy(path) == "review" and answer != field.shown:
                assert answer in clashes[path].values, (path, dot)
        assert len(live) + len(replaced) == len(writes)
        if path in clashes:
            assert clashes[path] == field.clash


def what_lives_and_shows_is_what_the_plain_rules_say(made: World, luck: random.Random) -> None:
    del luck
    record = fold(made.made, made.policies)
    for path, field in record.fields.items():
        live = oracle.alive(oracle.writes_at(made.made, made.policies, path))
        assert [one.dot for one in field.live] == [one[0].dot for one in live]
        if path.rpartition("/")[2] == EXISTS:
            assert field.shown == oracle.there(made.made, made.policies, path), path
        else:
            assert field.shown == oracle.shown(made.made, made.policies, path), path


def a_device_never_clashes_with_itself(made: World, luck: random.Random) -> None:
    """Whatever one device made, out of its own sight and in any order, its last word stands."""
    device = luck.choice(sorted({change.dot.device for change in made.made} - {"desk"}))
    own = [change for change in made.made if change.dot.device == device]
    blind = [
        Change(
            record=change.record,
            dataset=change.dataset,
            dot=change.dot,
            author=change.author,
            at=change.at,
            effective=luck.randrange(30),
            source=change.source,
            writes=written(
                {
                    path: write.value
                    for path, write in change.writes.items()
                    if made.policies.policy(path) != "immutable"
                },
                {},
            ),
        )
        for change in own
    ]
    luck.shuffle(blind)
    if any(change.writes for change in blind):
        record = fold(blind, made.policies)
        assert record.clashes == ()
        assert all(len(field.live) == 1 for field in record.fields.values())


def compaction_changes_no_fold_to_come(made: World, luck: random.Random) -> None:
    horizon = luck.randrange(26)
    old = [change for change in made.made if change.effective <= horizon]
    if not old:
        return
    snapshot = compact(old, horizon, made.policies)
    if luck.random() < 0.5:  # Compacted again on top of itself.
        early = [change for change in old if change.effective <= horizon // 2]
        if early:
            snapshot = compact(
                old, horizon, made.policies, base=compact(early, horizon // 2, made.policies)
            )
    later = [change for change in made.made if change.effective > horizon]
    later += luck.sample(old, len(old) // 2)
    luck.shuffle(later)
    other = Policies(
        fields={"visits": "sum", "size": "immutable", "dose": "min", "shelter": "last-writer"},
        aliases=made.policies.aliases,
    )
    for policies in (made.policies, other):
        assert fold(later, policies, base=snapshot) == fold(made.made, policies)
        step = fold([], policies, base=snapshot)
        for change in later:
            step = apply(step, change)
        assert step == fold(made.made, policies)


def a_settlement_settles_until_somebody_disagrees(made: World, luck: random.Random) -> None:
    del luck
    record = fold(made.made, made.policies)
    for number, clash in enumerate(record.clashes):
        word = settle(
            record,
            clash.path,
            clash.suggestion.value,
            dot=Dot("office", number + 1),
            author="supervisor",
            at="2026-04-01",
            effective=100 + number,
            source=f"office-{number}",
        )
        after = apply(record, word)
        assert clash.path not in {each.path for each in after.clashes}
        assert after.value(clash.path) == clash.suggestion.value


def history_can_be_told_and_kept(made: World, luck: random.Random) -> None:
    record = fold(made.made, made.policies)
    for change in made.made:
        assert from_json(to_json(change)) == change
    for path in luck.sample(sorted(record.fields), min(4, len(record.fields))):
        assert explain(record, path).endswith(".")
    when = luck.randrange(26)
    known = [change for change in made.made if change.effective <= when]
    then = as_of(made.made, when, made.policies)
    assert then == (fold(known, made.policies) if known else None)
    assert live_dots(record).keys() == record.fields.keys()


LAWS: tuple[Callable[[World, random.Random], None], ...] = (
    merging_is_a_union,
    order_and_repetition_do_not_show,
    devices_and_server_converge,
    no_write_is_silently_dropped,
    what_lives_and_shows_is_what_the_plain_rules_say,
    a_device_never_clashes_with_itself,
    compaction_changes_no_fold_to_come,
    a_settlement_settles_until_somebody_disagrees,
    history_can_be_told_and_kept,
)
