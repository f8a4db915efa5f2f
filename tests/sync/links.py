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

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE = 4096


@contextmanager
def served(desk) -> Iterator[int]:
    """The office's door on a real port of this machine."""
    import logging

    from waitress.server import create_server

    logging.getLogger("waitress").setLevel(logging.CRITICAL)
    app = Flask("office")
    app.logger.disabled = True
    app.register_blueprint(blueprint(desk))
    server = create_server(
        app, host="127.0.0.1", port=0, threads=4, clear_untrusted_proxy_headers=False
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server.effective_port
    finally:
        server.close()
        thread.join(5)


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
    _free: list[float] = field(default_factory=lambda: [0.0, 0.0])
    _line: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[int]:
        self._luck = random.Random(self.seed)
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Closing alone does not wake the thread that waits in accept.
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            for one in self._open:
                with suppress(OSError):
                    one.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(("127.0.0.1", self.target))
            self._open += [near, far]
            budget = [self.cut_every or 1 << 60]
            if self.loss and self._luck.random() < self.loss:
                budget = [min(budget[0], self._luck.randrange(200, 60_000))]
            lock = threading.Lock()
            for one, other, upward in ((near, far, True), (far, near, False)):
                threading.Thread(
                    target=self._pump, args=(one, other, upward, budget, lock), daemon=True
                ).start()

    def _pump(self, one, other, upward, budget, lock) -> None:
        under_way: queue.Queue = queue.Queue(64)
        arriving = threading.Thread(target=self._arrive, args=(other, under_way), daemon=True)
        arriving.start()
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
        arriving.join(60)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _arrive(other: socket.socket, under_way: queue.Queue) -> None:
        while True:
            due, data = under_way.get()
            if not data:
                return
            time.sleep(max(0.0, due - time.monotonic()))
            with suppress(OSError):
                other.sendall(data)
