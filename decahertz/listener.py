"""Accepts connections so that the failure of one cannot end the others.

A server of uvloop stops to accept, for good and without a word, once it lacks the memory to set a connection
up. Here a failure costs that connection alone.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

_MOST_AT_ONCE = 64
"""Connections accepted before others on the event loop have their turn."""
_PAUSE_SECONDS = 0.1
"""How long connections wait where the operating system cannot accept any: it has no free descriptor."""


class Listener:
    """Accepts the connections of listening sockets, which it closes in the end."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``factory`` makes the protocol of a connection."""
        self.sockets = tuple(sockets)
        self._factory = factory
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_serving = False

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._is_serving

    def start(self) -> None:
        """Begins to accept connections."""
        self._is_serving = True
        for sock in self.sockets:
            sock.setblocking(False)
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    def close(self) -> None:
        """Stops listening; connections stay."""
        self._is_serving = False
        for task in self._tasks:
            task.cancel()
        for sock in self.sockets:
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()

    async def wait_closed(self) -> None:
        """Waits for the connections that were about to begin."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                connection, _address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                # In this order: without memory the first one may fail, and then it reads on.
                self._loop.call_later(_PAUSE_SECONDS, self._resume, sock)
                self._loop.remove_reader(sock.fileno())
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._begin(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _resume(self, sock: socket.socket) -> None:
        if self._is_serving:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection, ssl=self._tls)
        except OSError:  # the client has gone, or its handshake failed
            connection.close()
        except BaseException:
            connection.close()
            raise
