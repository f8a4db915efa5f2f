"""A short run of the campaign that sends hostile inputs through every door of the engine."""

from __future__ import annotations

import warnings

from tests.campaigns.fuzz import run


def test_whatever_comes_in_only_the_declared_errors_come_out():
    with warnings.catch_warnings():
        # openpyxl warns of damage that it could mend; the campaign is about what comes out.
        warnings.simplefilter("ignore")
        figures = run(240, 2026)
    assert figures["inputs"] == 240
    assert figures["taken"]
    assert figures["BrokenForm"]
