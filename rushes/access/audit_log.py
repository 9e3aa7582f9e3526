"""The audit log: what callers did by a scope that reaches every tenant, and each new endpoint.

Entries outlive keys, tenants and jobs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from models import Account, ApiKey, AuditEntry, Endpoint, Job, Prediction, Tenant, transitions
from rushes.access.callers import Caller

_OF_TENANTS = frozenset({"endpoint.create"})
"""What is recorded of tenants too: from then on, their data leaves Rushes."""

Facts = Mapping[str, Any]
Row = TypeVar("Row", Account, ApiKey, Endpoint, Job, Prediction, Tenant)


def record(
    session: Session,
    caller: Caller,
    action: str,
    target: UUID | str,
    *,
    before: Facts | None = None,
    after: Facts | None = None,
) -> None:
    """Append an entry, in the transaction of the change that it describes.

    `before` and `after` are the few values that the caller has changed, and never secret. For a caller that reaches
    only its own tenant, nothing but `_OF_TENANTS` is recorded: the histories of its jobs name it.
    """
    if not caller.reaches_all and action not in _OF_TENANTS:
        return
    entry = AuditEntry(
        tenant_id=caller.tenant_id if caller.key_id else None,
        key_id=caller.key_id,
        by=caller.by,
        action=action,
        target=str(target),
        before=to_jsonable_python(before),
        after=to_jsonable_python(after),
    )
    transitions.audit_log.insert_entry(session, entry)


@contextmanager
def recorded(session: Session, caller: Caller, action: str, row: Row, *columns: str) -> Iterator[Row]:
    """Record what the block does to a row: these columns before and after it. Nothing if the block raises.

    The row is not locked here, because each transition locks rows in an order of its own. So another process may have
    changed it just after `before` was read.
    """
    if not caller.reaches_all:
        yield row
        return
    target = row.name if isinstance(row, Account | Tenant) else row.id
    before = _read(session, row, columns)
    yield row
    record(session, caller, action, target, before=before, after=_read(session, row, columns))


def _read(session: Session, row: object, columns: tuple[str, ...]) -> Facts:
    session.refresh(row, columns)
    return {name: getattr(row, name) for name in columns}
