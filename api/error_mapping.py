"""Maps errors of the other parts to problem documents: what a client is told when something fails."""

from __future__ import annotations

from api.http.problems import FieldProblem, ProblemError
from decahertz.event_times import BatchRefusedError
from decahertz.ingest import NotDurableError
from storage.database import DatabaseClosedError, DatabaseUnavailableError, QueryTimeoutError
from storage.query.export import TooManyExportsError, UnknownColumnError
from storage.query.history.history import UnknownFieldError
from storage.query.pagination import CursorError
from storage.query.parquet import ParquetMissingError


def domain_problem(error: Exception) -> ProblemError | None:
    """Converts an error of ingest, queries or exports; ``None`` for an unexpected one."""
    text = str(error)
    problem: ProblemError | None = None
    match error:
        case BatchRefusedError():
            errors = [FieldProblem(index=r.index, field=r.field, reason=r.reason) for r in error.refusals]
            problem = ProblemError("invalid-batch", f"no part of the batch was stored: {text}", errors)
        case NotDurableError():
            problem = ProblemError("not-durable", f"the batch is not durable yet ({text}); send it again")
        case QueryTimeoutError():
            limit = f"{error.seconds:g} s (storage.read_timeout_seconds)"
            detail = f"the query took longer than {limit}: ask for a shorter range, or for less at once"
            problem = ProblemError("query-timeout", detail)
        case DatabaseUnavailableError():
            is_closed = isinstance(error, DatabaseClosedError)
            detail = (
                f"the database is not open yet ({text})" if is_closed else "the database does not respond"
            )
            problem = ProblemError("database-unavailable", f"{detail}; try again")
        case CursorError():
            problem = ProblemError("invalid-cursor", text, [FieldProblem(field="cursor", reason=text)])
        case UnknownFieldError():
            problem = ProblemError("invalid-parameter", text)
        case UnknownColumnError():
            problem = ProblemError("invalid-parameter", text, [FieldProblem(field=error.name, reason=text)])
        case TooManyExportsError():
            problem = ProblemError("overloaded", f"{text}; try again")
        case ParquetMissingError():
            problem = ProblemError("not-installed", text)
    return problem
