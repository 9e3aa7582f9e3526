"""Sessions for a process that dies right before or right after one of its commits."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from models.db.session import Sessions
from tests.support.lying_provider import Died


class MortalSessions:
    """In the place of `Sessions`: `transaction` and `one_statement` pass two points each, before and after the commit.

    `points_left` says at which of them the process dies, by raising `Died`; None: it lives.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.points_left: int | None = None
        self.deaths = 0

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction: who dies before its commit has written nothing."""
        with self._sessions.begin() as session:
            yield session
            self.pass_a_point()
        self.pass_a_point()

    @contextmanager
    def __call__(self) -> Iterator[Session]:
        """For a statement that commits itself: who dies before it has sent nothing."""
        self.pass_a_point()
        with self._sessions() as session:
            yield session
        self.pass_a_point()

    def pass_a_point(self) -> None:
        if self.points_left is None:
            return
        self.points_left -= 1
        if self.points_left < 0:
            self.points_left = None
            self.deaths += 1
            raise Died
