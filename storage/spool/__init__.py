"""The spool: what came in is on this machine's disk before anybody is told that it is safe."""

from storage.spool.spool import Spool

__all__ = ["Spool"]
