"""Columns as pandas or Arrow, where those are installed."""

from __future__ import annotations

from typing import Any

_SUFFIX = "_ns"
_NOT_A_TIME = -(2**63)
"""NumPy's NaT."""

Columns = dict[str, list[Any]]


def pandas_frame(columns: Columns) -> Any:  # noqa: ANN401 - a pandas.DataFrame
    """Makes a ``pandas.DataFrame`` of columns of the API: ``time_ns`` becomes the time column ``time``."""
    try:
        import numpy as np  # noqa: PLC0415 - optional
        import pandas as pd  # noqa: PLC0415 - optional
    except ImportError as error:
        raise _missing("pandas") from error

    def times(values: list[Any]) -> Any:  # noqa: ANN401 - a pandas.DatetimeIndex
        numbers = [_NOT_A_TIME if value is None else value for value in values]
        return pd.DatetimeIndex(np.array(numbers, dtype="int64").view("datetime64[ns]")).tz_localize("UTC")

    return pd.DataFrame(
        {_plain(name): times(values) if _is_time(name) else values for name, values in columns.items()}
    )


def arrow_table(columns: Columns) -> Any:  # noqa: ANN401 - a pyarrow.Table
    """Makes a ``pyarrow.Table`` of columns of the API: ``time_ns`` becomes the time column ``time``."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional
    except ImportError as error:
        raise _missing("pyarrow") from error
    kind = pa.timestamp("ns", tz="UTC")
    return pa.table(
        {
            _plain(name): pa.array(values, type=kind) if _is_time(name) else pa.array(values)
            for name, values in columns.items()
        }
    )


def _is_time(name: str) -> bool:
    return name.endswith(_SUFFIX)


def _plain(name: str) -> str:
    return name[: -len(_SUFFIX)] if _is_time(name) else name


def _missing(package: str) -> ImportError:
    return ImportError(f"{package} is not installed: pip install {package}, or use the plain columns")
