"""Maps errors of the other parts to problem documents: what a client is told when something fails."""

from __future__ import annotations

import math
from typing import Final

from api.http.problems import FieldProblem, ProblemError
from control.checks import RequestViolationError
from control.halts import UnknownHaltError
from control.queue import UnknownRequestError
from control.signals.service import BarsBehindError, InvalidEvaluationError
from control.templates import TooManyTemplatesError, UnknownTemplateError
from control.validation import InvalidRequestError
from decahertz.event_times import BatchRefusedError
from decahertz.ingest import NotDurableError
from decahertz.order_requests import RequestConflictError
from decahertz.provider import (
    ProviderError,
    UnknownSymbolError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
)
from providers.errors import BudgetExhaustedError, GatewayError, LateError
from providers.gateway import UnknownProviderError
from storage.database import DatabaseClosedError, DatabaseUnavailableError, QueryTimeoutError
from storage.query.export import TooManyExportsError, UnknownColumnError
from storage.query.history.history import UnknownFieldError
from storage.query.pagination import CursorError
from storage.query.parquet import ParquetMissingError
from storage.write.order_requests import KeyReusedError
from storage.write.order_templates import NameTakenError, VersionConflictError


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
            state = f"is not open yet ({text})" if is_closed else "does not respond"
            problem = ProblemError("database-unavailable", f"{error.database} {state}; try again")
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
        case _:
            problem = _order_problem(error) or _provider_problem(error) or _signal_problem(error)
    return problem


def _provider_problem(error: Exception) -> ProblemError | None:
    """Converts an error of the gateway to providers."""
    text = str(error)
    match error:
        case UnknownProviderError():
            return ProblemError("not-found", f"no provider {text[:128]!r} is enabled (providers.enabled)")
        case UnknownSymbolError():
            return ProblemError("unknown-name", text, [FieldProblem(field="symbol", reason=text)])
        case UpstreamTimeoutError() | LateError():
            return ProblemError("provider-timeout", text)
        case ProviderError() if not isinstance(error, UpstreamRateLimitedError):
            return ProblemError("provider-failed", text)
        case UpstreamRateLimitedError() | GatewayError():
            is_spent = isinstance(error, BudgetExhaustedError)
            kind = "budget-exhausted" if is_spent else "provider-unavailable"
            headers = {"Retry-After": str(max(1, math.ceil(error.retry_seconds)))}
            return ProblemError(kind, text, headers=headers)
        case _:
            return None


def _order_problem(error: Exception) -> ProblemError | None:
    """Converts an error of the queue of order requests."""
    text = str(error)
    match error:
        case InvalidRequestError():
            errors = [FieldProblem(field=field, reason=reason) for field, reason in error.fields]
            return ProblemError("invalid-body", text, errors)
        case RequestViolationError():
            errors = [FieldProblem(rule=rule, reason=reason) for rule, reason in error.violations]
            return ProblemError("order-refused", text, errors)
        case KeyReusedError():
            detail = f"request {text} was submitted with another body under this Idempotency-Key"
            return ProblemError("idempotency-key-reused", detail)
        case RequestConflictError():
            return ProblemError("request-conflict", text)
        case UnknownRequestError() | UnknownHaltError() | UnknownTemplateError():
            return ProblemError("not-found", f"there is no {_UNKNOWN[type(error)]} {text[:256]!r}")
        case _:
            return _template_problem(error)


_UNKNOWN: Final[dict[type[Exception], str]] = {
    UnknownRequestError: "order request",
    UnknownHaltError: "halt that lasts",
    UnknownTemplateError: "template",
}


def _template_problem(error: Exception) -> ProblemError | None:
    """Converts an error of the templates of order requests."""
    text = str(error)
    match error:
        case NameTakenError():
            return ProblemError("name-taken", "another template of this recorder has the name")
        case VersionConflictError():
            detail = f"the current version is {text}: read it, and change that one"
            return ProblemError("precondition-failed", detail)
        case TooManyTemplatesError():
            return ProblemError("too-many", f"there are {text} templates: delete one first")
        case _:
            return None


def _signal_problem(error: Exception) -> ProblemError | None:
    """Converts an error of the signal generators."""
    text = str(error)
    match error:
        case InvalidEvaluationError():
            return ProblemError("invalid-body", text, [FieldProblem(field=error.field, reason=error.reason)])
        case BarsBehindError():
            return ProblemError("database-unavailable", f"{text}; try again")
        case _:
            return None
