"""Lists that are read page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from decahertz_client import records
from decahertz_client._frames import arrow_table, pandas_frame
from decahertz_client._rest import Session, time_value

ItemT = TypeVar("ItemT")


class Pages(Generic[ItemT]):
    """Iterates over the records of a list; requests the next page when it is needed.

    Rows that arrive while it reads are neither skipped nor repeated. An iterator is used up once:
    the methods return what is left of it.
    """

    def __init__(
        self,
        session: Session,
        path: str,
        query: Mapping[str, object],
        limit: int | None,
        page_size: int,
        record: str,
    ) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"limit is {limit}, must not be negative")
        self._session = session
        self._path = path
        self._query = {name: time_value(value) for name, value in query.items()}
        self._left = limit
        self._page_size = page_size
        self._record = record
        self._cursor: str | None = None
        self._items: Iterator[ItemT] = iter(())
        self._is_complete = False

    def __iter__(self) -> Iterator[ItemT]:
        return self

    def __next__(self) -> ItemT:
        if self._left == 0:
            raise StopIteration
        while True:
            for item in self._items:
                if self._left is not None:
                    self._left -= 1
                return item
            if self._is_complete:
                raise StopIteration
            self._next_page()

    def _next_page(self) -> None:
        size = self._page_size if self._left is None else min(self._left, self._page_size)
        page = self._session.get(self._path, {**self._query, "limit": size, "cursor": self._cursor})
        self._cursor = page["next_cursor"]
        self._is_complete = self._cursor is None
        self._items = iter(page["items"])

    def to_list(self) -> list[ItemT]:
        """Returns the records as a list of dictionaries."""
        return list(self)

    def to_columns(self) -> dict[str, list[Any]]:
        """Returns one list for each field, with the values of all records."""
        found: list[Any] = list(self)
        names = found[0] if found else getattr(records, self._record).__annotations__
        return {name: [record[name] for record in found] for name in names}

    def to_pandas(self) -> Any:  # noqa: ANN401 - a pandas.DataFrame, where pandas is installed
        """Returns a ``pandas.DataFrame``; ``time_ns`` becomes ``time``, of type ``datetime64[ns, UTC]``."""
        return pandas_frame(self.to_columns())

    def to_arrow(self) -> Any:  # noqa: ANN401 - a pyarrow.Table, where pyarrow is installed
        """Returns a ``pyarrow.Table``; ``time_ns`` becomes ``time``, of type ``timestamp[ns, UTC]``."""
        return arrow_table(self.to_columns())
