"""Each rule that keeps an answer safe, taken away: a named test must notice.

The package and its tests are copied, one piece of text is replaced in the copy, and the test that
the docs name for it is run there. The copy without a replacement must pass all of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent
LAW = "test_laws.py::test_it_holds_of_every_history"


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is taken away, where, and the test that must fail then."""

    name: str
    file: str
    before: str
    after: str
    test: str


MUTATIONS = (
    Mutation(
        "drop a clash",
        "record.py",
        "                if judged.reason:\n",
        "                if judged.reason and len(found) < 1:\n",
        f"{LAW}[no_write_is_silently_dropped]",
    ),
    Mutation(
        "forget the replaced set",
        "record.py",
        "            named |= write.replaces\n",
        "            named |= set()\n",
        f"{LAW}[what_lives_and_shows_is_what_the_plain_rules_say]",
    ),
    Mutation(
        "take arrival order",
        "record.py",
        "    return entry[0].effective, entry[0].dot\n",
        "    return 0, entry[0].dot[:0]\n",
        f"{LAW}[what_lives_and_shows_is_what_the_plain_rules_say]",
    ),
    Mutation(
        "let the last arrival win in a union of histories",
        "change.py",
        "    return tuple(both[key] for key in sorted(both))\n",
        "    return tuple(both.values())\n",
        f"{LAW}[merging_is_a_union]",
    ),
    Mutation(
        "count a repeated change twice",
        "record.py",
        "                raise Forked(same, change)\n            continue\n",
        "                raise Forked(same, change)\n",
        f"{LAW}[order_and_repetition_do_not_show]",
    ),
    Mutation(
        "let a device clash with itself",
        "record.py",
        "        if dot in named or newest[dot.device] > dot.counter:\n",
        "        if dot in named:\n",
        f"{LAW}[a_device_never_clashes_with_itself]",
    ),
    Mutation(
        "share lists between a record and the one made from it",
        "record.py",
        "            at[path] = [*held]\n",
        "            at[path] = held\n",
        "test_record.py::test_a_record_that_was_handed_out_never_changes",
    ),
    Mutation(
        "believe a ring of lies",
        "record.py",
        "    if len(covered) > 1:\n",
        "    if len(covered) > 99:\n",
        "test_record.py::test_a_lie_about_what_was_seen_hides_no_answer",
    ),
    Mutation(
        "let a deletion win over what it had not seen",
        "record.py",
        "if entry[1].value is not None and not any(",
        "if entry[1].value == () and not any(",
        "test_record.py::test_a_record_deleted_while_another_edits_it_is_still_there",
    ),
    Mutation(
        "let a rule decide on a name",
        "policies.py",
        '        if sort in ALWAYS_REVIEWED:\n            return "review", sort, kind\n',
        "",
        "test_policies.py::test_names_birth_dates_identifiers_and_accounts_always_go_to_a_person",
    ),
    Mutation(
        "pay to an account that clashes",
        "settling.py",
        'record.policies.sort(clash.path) == "payment account"',
        'record.policies.sort(clash.path) == "identifier"',
        "test_record.py::test_an_account_that_clashes_freezes_payments_until_it_is_settled",
    ),
    Mutation(
        "settle without having seen every answer",
        "settling.py",
        "        seen = {entry[0].dot for entry in entries}\n",
        "        seen = {entry[0].dot for entry in entries[:1]}\n",
        f"{LAW}[a_settlement_settles_until_somebody_disagrees]",
    ),
    Mutation(
        "bring a moved person back",
        "record.py",
        "        if moved:  #",
        "        if moved and not unseen:  #",
        "test_record.py::test_an_edit_made_while_a_person_moved_does_not_bring_them_back_to_be_paid_twice",
    ),
    Mutation(
        "compact away what replaces a straggler",
        "compaction.py",
        "        or newest[entry[0].dot.device] == entry[0].dot.counter",
        "        or newest == {}",
        "test_record.py::test_a_snapshot_answers_a_straggler_as_the_whole_history_would",
    ),
    Mutation(
        "compact away the first answer",
        "compaction.py",
        "        or entry is first",
        "        or entry == ()",
        f"{LAW}[compaction_changes_no_fold_to_come]",
    ),
    Mutation(
        "forget what was compacted",
        "record.py",
        "        if change.dot in absorbed:\n            continue\n",
        "",
        f"{LAW}[compaction_changes_no_fold_to_come]",
    ),
    Mutation(
        "forget a name that was changed",
        "record.py",
        "        path = policies.path(written) if renamed else written\n",
        "        path = written\n",
        "test_policies.py::test_a_renamed_field_is_one_field_by_its_alias",
    ),
    Mutation(
        "show only what the policy chose",
        "record.py",
        "            live=tuple(map(_write, live)),\n",
        "            live=tuple(map(_write, judged.by)),\n",
        f"{LAW}[no_write_is_silently_dropped]",
    ),
    Mutation(
        "lose what was seen on the way to the disk",
        "change.py",
        "*sorted(place[dot] for dot in write.replaces)]",
        "*sorted(place[dot] for dot in write.replaces)[:1]]",
        f"{LAW}[history_can_be_told_and_kept]",
    ),
)


def copied(to: Path) -> Path:
    for part in ("conflict", "tests/conflict"):
        shutil.copytree(TOP / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TOP / "tests" / "__init__.py", to / "tests" / "__init__.py")
    (to / "tests" / "conflict" / "test_mutations.py").unlink()
    (to / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    return to


def outcome(folder: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", "-p", "no:cov", "--hypothesis-seed=0"),
            *(f"tests/conflict/{test}" for test in tests),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
    )


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name.replace(" ", "_"))
def test_a_rule_that_is_taken_away_is_missed(mutation: Mutation, tmp_path: Path):
    folder = copied(tmp_path)
    file = folder / "conflict" / mutation.file
    source = file.read_text(encoding="utf-8")
    assert source.count(mutation.before) == 1, "the rule moved; tell the mutation where it is"
    file.write_text(source.replace(mutation.before, mutation.after), encoding="utf-8")
    ran = outcome(folder, mutation.test)
    assert ran.returncode == 1, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert "1 failed" in ran.stdout


def test_with_every_rule_in_its_place_nothing_is_missed(tmp_path: Path):
    folder = copied(tmp_path)
    ran = outcome(folder, *sorted({mutation.test for mutation in MUTATIONS}))
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]


def test_the_docs_name_the_mutation_of_each_claim():
    told = (TOP / "docs" / "conflicts.md").read_text(encoding="utf-8")
    assert [mutation.name for mutation in MUTATIONS if f"*{mutation.name}*" not in told] == []
