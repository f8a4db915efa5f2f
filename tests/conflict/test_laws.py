"""The algebra of disagreement, over histories that nobody thought of."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conflict.laws import LAWS
from tests.conflict.worlds import World, world

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@settings(max_examples=1000, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(2, 28), devices=st.integers(1, 4))
def test_it_holds_of_every_history(
    law: Callable[[World, random.Random], None], seed: int, steps: int, devices: int
):
    law(world(seed, steps=steps, devices=devices), random.Random(seed))
