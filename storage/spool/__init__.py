"""The spool: a durable queue on disk between everything that arrives and the database."""

from storage.spool.spool import Spool

__all__ = ["Spool"]
