"""Reads rows of the table ``order_requests``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decahertz.order_requests import BODY_DECODER, RequestRecord, RequestState

if TYPE_CHECKING:
    import asyncpg


def record_of(row: asyncpg.Record) -> RequestRecord:
    """The request of a row with all columns."""
    return RequestRecord(
        request_id=row["request_id"],
        recorder=row["recorder"],
        created_ns=row["created_ns"],
        updated_ns=row["updated_ns"],
        state=RequestState(row["state"]),
        body=BODY_DECODER.decode(row["body"]),
        submitted_by=row["submitted_by"],
        valid_until_ns=row["valid_until_ns"],
        holder=row["holder"],
        lease_until_ns=row["lease_until_ns"],
        attempts=row["attempts"],
        begun_ns=row["begun_ns"],
        cancel_requested_ns=row["cancel_requested_ns"],
        reason=row["reason"],
        order_id=row["order_id"],
        template_id=row["template_id"],
        template_version=row["template_version"],
        scheduled_ns=row["scheduled_ns"],
        token=row["token"],
        session=row["session"],
        lease_ns=row["lease_ns"],
    )
