"""A form is never changed by being used: many threads fill in the same one as each would alone."""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forms.check import check
from forms.finish import Unfinished
from forms.form import Form
from tests.forms.filling import filled
from tests.forms.finishing import NAMES, forms

THREADS = 6


def told(form: Form, seed: int) -> tuple[bytes, object]:
    """All that an interview comes to: the entry, what is shown, and what the check says."""
    entry = filled(form, random.Random(seed))
    shown = tuple(entry.walk())
    try:
        done = entry.finish()
    except Unfinished as unfinished:
        return entry.save(), (shown, unfinished.faults)
    return done.xml, (shown, check(form, done.xml, attachments=done.attachments))


@pytest.fixture(autouse=True)
def _switching_all_the_time():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(NAMES[:4]), st.integers(0, 1_000))
def test_many_threads_fill_in_one_form_as_each_would_alone(name: str, seed: int):
    known = forms()[name]
    media = known._media
    alone = [told(Form.load(known.xml, media), seed + number) for number in range(THREADS)]
    # A form that nobody has used: what is worked out late is worked out by all at once.
    shared = Form.load(known.xml, media)
    start = Barrier(THREADS)

    def one(number: int) -> tuple[bytes, object]:
        start.wait()
        return told(shared, seed + number)

    with ThreadPoolExecutor(THREADS) as threads:
        together = list(threads.map(one, range(THREADS)))
    assert together == alone
