"""Reads a recorder: lists, histories, exports, live data."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

from decahertz_client._history import History, read_history
from decahertz_client._live import Live, LiveMessage, live_messages
from decahertz_client._rest import Session, Time, Values
from decahertz_client._routes import Routes


class Reader(Routes):
    """Reads what a recorder has stored and what it sees now.

    ``url`` is the address of the Decahertz API (a path before ``/api`` is kept), ``key`` an API key with the
    scope ``read``, by default that of ``DECAHERTZ_KEY`` or of the file ``DECAHERTZ_KEY_FILE``. With
    ``https``, ``ca_file`` names certificates to trust instead of those of the system: of an authority, or the
    server's own; default: ``DECAHERTZ_CA_FILE``.
    ``timeout_seconds`` is the limit for connecting and for each part of an answer; 0: none. When the server
    asks to retry later (429, 503), a request is repeated for at most ``retry_seconds``.

    Reading raises :class:`~decahertz_client.ProblemError` for an error of the server and
    :class:`~decahertz_client.NoAnswerError` without an answer; both are a
    :class:`~decahertz_client.ReaderError`. Times are integer nanoseconds since the epoch, UTC; parameters
    also take what the API takes (``"2026-01-02T15:30:00Z"``) and any ``datetime`` with a zone. Threads may
    share a reader; its requests are sent one after the other.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        timeout_seconds: float = 30.0,
        retry_seconds: float = 5.0,
    ) -> None:
        super().__init__(Session(url, key, ca_file, timeout_seconds, retry_seconds))

    def __enter__(self) -> Reader:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def history(
        self,
        collector: str,
        *,
        fields: Values | None = None,
        start: Time | None = None,
        end: Time | None = None,
        step: str | int | None = None,
        max_points: int | None = None,
        tier: str | None = None,
        recorder: Values | None = None,
        **key: Values,
    ) -> History:
        """Returns the samples of a collector over ``[start, end)``; default: the last five minutes.

        ``fields`` names metrics (default: all), ``key`` filters by fields of the key:
        ``instrument="BTC-USD"``, ``strategy=["momentum", "arb"]``. Ranges up to an hour return raw samples
        unless ``step`` (``"5s"``, ``"1m"``, or nanoseconds), ``max_points`` per series or ``tier`` ask for
        buckets. An answer that the server cuts is read to its end.
        """
        query = {
            "collector": collector,
            "fields": fields,
            "start": start,
            "end": end,
            "step": None if step is None else str(step),
            "max_points": max_points,
            "tier": tier,
            "recorder": recorder,
        }
        return read_history(self._session, query, key)

    def export(
        self,
        file: str | Path,
        *,
        table: str | None = None,
        collector: str | None = None,
        fields: Values | None = None,
        start: Time | None = None,
        end: Time | None = None,
        **key: Values,
    ) -> int:
        """Writes all rows of an event table, or the raw samples of a collector, to a file; returns its bytes.

        The name decides the format: ``.parquet``, or CSV. ``key`` filters: ``instrument="BTC-USD"``. A
        download that breaks off raises an error and leaves no file.
        """
        path = Path(file)
        part = path.with_name(f"{path.name}.part")
        query = {
            "table": table,
            "collector": collector,
            "fields": fields,
            "format": "parquet" if path.suffix == ".parquet" else "csv",
            "start": start,
            "end": end,
            **key,
        }
        try:
            with part.open("wb") as output:
                size = sum(output.write(chunk) for chunk in self._session.stream("/api/v1/export", query))
            part.replace(path)
        except BaseException:
            part.unlink()
            raise
        return size

    def live(self, *topics: str, max_hz: float | None = None) -> Live:
        """Returns an iterator over the live data of topics: ``"fills"``, ``"metrics:market:**"``.

        It yields :class:`~decahertz_client.State` (first the newest of each topic) and
        :class:`~decahertz_client.Event`. A lost connection is opened again and resumed: each event comes once
        and in order, or :class:`~decahertz_client.Gap` says that some are missing. ``max_hz`` limits the
        states of each topic a second. A reader that is too slow misses states, never events. Needs
        ``websockets``: ``pip install 'decahertz-client[live]'``. Raises
        :class:`~decahertz_client.NoAnswerError` if the first connection fails.
        """
        return Live(self._session, topics, max_hz)

    def live_async(self, *topics: str, max_hz: float | None = None) -> AsyncIterator[LiveMessage]:
        """Returns the same for ``async for``."""
        return live_messages(self._session, topics, max_hz)
