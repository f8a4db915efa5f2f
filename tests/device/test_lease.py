"""The idle lock ends a session that nobody touches."""

from __future__ import annotations

import threading

from field_agent.lease import IdleLock, Lease


def test_a_session_ends_when_nobody_touches_it_and_not_before():
    now = [0.0]
    ended = threading.Event()
    lock = IdleLock(60, steady_s=lambda: now[0], end=ended.set)
    now[0] = 59
    assert lock.left_s() == 1
    lock.touch()
    now[0] = 118
    assert lock.left_s() == 1
    thread = lock.start()
    now[0] = 120
    assert ended.wait(10)
    thread.join()


def test_a_lock_that_is_stopped_ends_nothing():
    ended = threading.Event()
    lock = IdleLock(0.001, steady_s=lambda: 0.0, end=ended.set)
    thread = lock.start()
    lock.stop()
    thread.join()
    assert not ended.is_set()


def test_no_lease_never_ends():
    lease = Lease(0, 0, 10**15)
    assert lease.ended(5) == ""
    assert lease.left_s(5) is None


def test_the_latest_time_seen_only_grows():
    lease = Lease(100, 0, 0).seen(50_000).seen(20_000)
    assert lease.seen_ms == 50_000
    assert lease.seen(0, 30_000).seen_ms == 80_000
    assert lease.left_s(0) == 50
