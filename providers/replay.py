"""The provider ``replay``: recorded answers from a file, for tests and for work without a network."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from decahertz.provider import (
    BaseProvider,
    MarketData,
    ProviderError,
    ProviderOptions,
    UnknownSymbolError,
)

_MOST_BYTES: Final = 256 * 1024 * 1024


class ReplayOptions(ProviderOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table ``[providers.replay]``."""

    file: Annotated[Path, Meta(description="File with one answer of GET /data a line, as JSON.")] = Path()
    speed: Annotated[float, Meta(gt=0, le=1e6, description="Speed of the recording.")] = 1.0
    fresh_seconds: float = 0.0
    call_cost: float = 0.0


class _Recorded(MarketData, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the file: data as a provider returns them, or an answer of ``GET /data``."""

    provider: str = ""
    received_ns: int | None = None
    age_seconds: float = 0.0
    quality: str = ""
    found: str = ""
    priority: str = ""
    response_seconds: float = 0.0

    def data(self) -> MarketData:
        """Returns the recorded data; an answer without a time has that of its receipt."""
        known = {name: getattr(self, name) for name in MarketData.__struct_fields__}
        known["time_ns"] = self.received_ns if self.time_ns is None else self.time_ns
        known["is_current"] = self.is_current and self.quality != "not_current"
        return MarketData(**known)


class ReplayProvider(BaseProvider[ReplayOptions]):
    """Plays the recording: its answers keep their times."""

    name: ClassVar[str] = "replay"
    options_type: ClassVar[type[ProviderOptions]] = ReplayOptions
    symbol_pattern: ClassVar[str] = r"[^\x00-\x1f]{1,256}"
    _began_ns = 0
    _first_ns = 0

    async def start(self) -> None:
        """Reads the file; the recording begins to play. Raises :class:`~decahertz.provider.ProviderError`."""
        self._symbols = await asyncio.to_thread(_read, self.options.file)
        self._first_ns = min(answers[0].time_ns or 0 for answers in self._symbols.values())
        self._began_ns = self.clock.monotonic_ns()

    async def fetch(self, symbol: str) -> MarketData:
        """The newest answer of the recording."""
        answers = self._symbols.get(symbol)
        if answers is None:
            raise UnknownSymbolError(f"the recording has no symbol {symbol!r}")
        played_ns = round((self.clock.monotonic_ns() - self._began_ns) * self.options.speed)
        at = bisect_right(answers, self._first_ns + played_ns, key=lambda answer: answer.time_ns or 0)
        if not at:
            raise UnknownSymbolError(f"the recording has no data of {symbol!r} yet")
        if at == len(answers):
            return replace(answers[-1], is_current=False, detail="the recording has no newer data")
        return answers[at - 1]


def _read(file: Path) -> dict[str, list[MarketData]]:
    """The answers by symbol, in the order of their times."""
    found: dict[str, list[MarketData]] = {}
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ProviderError(f"{file} is larger than {_MOST_BYTES} bytes")
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise ProviderError(f"{file} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answer = msgspec.json.decode(line, type=_Recorded).data()
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ProviderError(f"{file}, line {number}: {error}") from error
        if answer.time_ns is None:
            raise ProviderError(f"{file}, line {number}: it has no time_ns")
        found.setdefault(answer.symbol, []).append(answer)
    if not found:
        raise ProviderError(f"{file} has no answers")
    for answers in found.values():
        answers.sort(key=lambda answer: answer.time_ns or 0)
    return found
