"""The formats of exports."""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """Format of an export."""

    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """The media type of a file in this format."""
        return "text/csv" if self is ExportFormat.CSV else "application/vnd.apache.parquet"
