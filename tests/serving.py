"""A door on a real port of this machine, which leaves no thread and no socket behind."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def serving(app: Callable[..., Any], *, threads: int = 4) -> Iterator[int]:
    """Serves the WSGI application and gives the port."""
    from waitress import wasyncore
    from waitress.server import create_server

    logging.getLogger("waitress").setLevel(logging.CRITICAL)
    sockets: dict[int, Any] = {}
    server = create_server(
        app,
        map=sockets,
        host="127.0.0.1",
        port=0,
        threads=threads,
        clear_untrusted_proxy_headers=False,
    )
    loop = threading.Thread(target=server.run, name="door", daemon=True)
    loop.start()
    try:
        yield server.effective_port
    finally:
        # First whoever still answers; then the loop closes its sockets itself. Closed from here, one
        # of them could be in its `select` just then, or be another file's number by the next.
        server.task_dispatcher.shutdown()
        server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        loop.join(60)
        assert not loop.is_alive(), "the door does not close"
