"""Bad links for real HTTP: a proxy that cuts, one that is slow, one that loses; and a served office."""

from __future__ import annotations

import queue
import random
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Flask

from sync_server.web.sync import blueprint
from tests.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 4096


@contextmanager
def served(desk) -> Iterator[int]:
    """The office's door on a real port of this machine."""
    app = Flask("office")
    app.logger.disabled = True
    app.register_blueprint(blueprint(desk))
    with serving(app) as port:
        yield port


@dataclass
class Link:
    """A TCP proxy. `cut_every`: bytes up and down after which a connection is torn (0: never);
    `rtt_s`, `bits_s`: delay and rate; `loss`: share of connections that are torn at a random point."""

    target: int
    cut_every: int = 0
    rtt_s: float = 0.0
    bits_s: float = 0.0
    loss: float = 0.0
    seed: int = 1
    up: int = 0
    down: int = 0
    cuts: int = 0
    connections: int = 0
    _open: list[socket.socket] = field(default_factory=list)
    _hands: list[threading.Thread] = field(default_factory=list)
    _free: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _line: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[int]:
        """Every thread has ended and every socket is closed when this is left."""
        self._luck = random.Random(self.seed)
        listener = socket.create_server(("127.0.0.1", 0))
        accepting = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            self._ended.set()
            # Shutting down wakes whoever waits in accept, recv or send; a close would pull the
            # number from under them.
            _shut(listener)
            accepting.join()
            listener.close()
            for one in self._open:
                _shut(one)
            for hand in self._hands:
                hand.join()
            for one in self._open:
                one.close()

    def _start(self, work, *given) -> threading.Thread:
        hand = threading.Thread(target=work, args=given, daemon=True)
        self._hands.append(hand)
        hand.start()
        return hand

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self._open.append(near)
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                _shut(near)
                continue
            self._open.append(far)
            self.connections += 1
            budget = [self.cut_every or 1 << 60]
            if self.loss and self._luck.random() < self.loss:
                budget = [min(budget[0], self._luck.randrange(200, 60_000))]
            lock = threading.Lock()
            for one, other, upward in ((near, far, True), (far, near, False)):
                self._start(self._pump, one, other, upward, budget, lock)

    def _pump(self, one, other, upward, budget, lock) -> None:
        under_way: queue.Queue = queue.Queue(64)
        arriving = self._start(self._arrive, other, under_way)
        with suppress(OSError):
            while data := one.recv(PIECE):
                with lock:
                    data = data[: max(0, budget[0])]
                    budget[0] -= len(data)
                    torn = budget[0] <= 0
                if upward:
                    self.up += len(data)
                else:
                    self.down += len(data)
                # The line's rate holds the bytes of all connections back one after the other, its
                # length all alike.
                with self._line:
                    free = max(self._free[upward], time.monotonic())
                    free += len(data) * 8 / self.bits_s if self.bits_s else 0
                    self._free[upward] = free
                under_way.put((free + self.rtt_s / 2, data))
                if torn:
                    self.cuts += 1
                    break
        under_way.put((0.0, b""))
        arriving.join()
        for each in (one, other):
            _shut(each)

    def _arrive(self, other: socket.socket, under_way: queue.Queue) -> None:
        while True:
            due, data = under_way.get()
            if not data:
                return
            self._ended.wait(max(0.0, due - time.monotonic()))
            with suppress(OSError):
                other.sendall(data)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
