"""The worked examples of the docs, run."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs" / "conflicts.md"


def test_every_example_in_the_docs_runs_as_it_is_written():
    failed, tried = doctest.testfile(str(DOCS), module_relative=False, encoding="utf-8")
    assert tried > 40
    assert failed == 0
