"""Count stale writes: they came too late and changed nothing."""

from sqlalchemy.orm import Session

from models.db.rows import statement

_COUNT = statement("""
    INSERT INTO stale_write (kind, count) VALUES (:kind, 1)
    ON CONFLICT (kind) DO UPDATE SET count = stale_write.count + 1, last_at = now()
""")


def count_stale_write(session: Session, kind: str) -> None:
    """Count one more write of this kind that changed nothing."""
    session.execute(_COUNT, {"kind": kind})
