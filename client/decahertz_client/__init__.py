"""Sends what a trading process does to Decahertz, and reads what Decahertz has recorded.

    from decahertz_client import Client

    with Client("http://127.0.0.1:8000", source="arb-1") as recorder:
        recorder.fill(strategy="arb", venue="kraken", instrument="BTC/USD", order_id="17",
                      fill_id="17-1", side="buy", price=67_321.5, quantity=0.2, fee=1.3)

Emitting an event appends it to a ring in memory: about a microsecond of work that takes no lock and never
blocks. A background thread sends the events every 30 milliseconds over one HTTP connection and keeps them
until the server confirms that they are durable. After a failure it resends the same events under the same
sequence numbers, so the server stores each of them once. Events dropped by a full ring or rejected by the
server are counted by reason, and the counts travel to the server: see :class:`Stats`.

A process may fork and go on emitting on both sides: the child starts with an empty ring and a new epoch.

    from decahertz_client import Reader

    with Reader("http://127.0.0.1:8000") as recorder:
        fills = recorder.fills(strategy="arb", limit=100).to_list()
        history = recorder.history("market", fields=["mid"], instrument="BTC/USD", max_points=1000)

Lists are read page by page, histories arrive in columns; both convert to pandas and Arrow where those are
installed. See :class:`Reader`.
"""

from decahertz_client._client import Client
from decahertz_client._correction import InvalidEventError
from decahertz_client._errors import NoAnswerError, ProblemError, ReaderError
from decahertz_client._history import History, Series
from decahertz_client._http import VERSION
from decahertz_client._live import Event, Gap, Live, LiveMessage, State
from decahertz_client._pages import Pages
from decahertz_client._reader import Reader
from decahertz_client._requests import OrderRequest, OrderRequests, RequestRefusedError
from decahertz_client._sender import Stats
from decahertz_client._trading import TradingPermission

__version__ = VERSION
__all__ = [
    "Client",
    "Event",
    "Gap",
    "History",
    "InvalidEventError",
    "Live",
    "LiveMessage",
    "NoAnswerError",
    "OrderRequest",
    "OrderRequests",
    "Pages",
    "ProblemError",
    "Reader",
    "ReaderError",
    "RequestRefusedError",
    "Series",
    "State",
    "Stats",
    "TradingPermission",
]
