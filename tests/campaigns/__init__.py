"""The long runs: each seeks a violation of one promise, and says how to replay what it finds."""

from __future__ import annotations


class Violation(Exception):
    """A promise was broken; the text holds what is needed to replay it."""


Figures = dict[str, int | float | str]
