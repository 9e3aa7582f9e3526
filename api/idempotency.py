"""The header Idempotency-Key: a repeated request gets the first answer again, and nothing is done twice."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel

from api.deps import find_links
from api.schemas.jobs import Links
from models.db.session import Sessions
from models.transitions.access.answered import KeptAnswer, RequestKey
from rushes.access.answers import HEADER, answer_once
from rushes.access.callers import Caller
from rushes.errors import InvalidInput, Problem
from rushes.runtime import Runtime

REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r'"(?P<quoted>(?:[!#-\[\]-~]|\\["\\])+)"|(?P<bare>[!#-~][!-~]*)')
_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Made:
    """What a request has made: the answer to show, its status, and its address."""

    shown: BaseModel
    status: int
    location: str | None = None

    def write(self, *, without: frozenset[str] = frozenset()) -> KeptAnswer:
        """Return the answer. The fields `without` are null."""
        shown = self.shown.model_copy(update=dict.fromkeys(without)) if without else self.shown
        return KeptAnswer(self.status, shown.model_dump_json(by_alias=True), self.location)


@dataclass(frozen=True, slots=True)
class Once:
    """A request that makes something, its key if it has one, and what its route needs: each dependency takes time."""

    request: Request
    caller: Caller
    key: str | None

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.request.app.state.runtime
        return runtime

    @property
    def links(self) -> Links:
        return find_links(self.request)

    def answer(self, make: Callable[[Sessions], Made], *, secret: frozenset[str] = frozenset()) -> Response:
        """Answer with what `make` returns, and wake the dispatcher; a repetition gets the kept answer instead.

        The fields `secret` are null in the kept answer.
        """
        answer, is_repeat = self._find_answer(make, secret)
        if not is_repeat:
            self.runtime.waker.wake()
        headers = {"Location": answer.location} if answer.location else {}
        headers |= {REPLAYED: "true"} if is_repeat else {}
        return Response(answer.body, answer.status, headers, media_type="application/json")

    def _find_answer(self, make: Callable[[Sessions], Made], secret: frozenset[str]) -> tuple[KeptAnswer, bool]:
        sessions = self.runtime.sessions
        if self.key is None:
            return make(sessions).write(), False

        def carry_out(joined: Sessions) -> tuple[KeptAnswer, KeptAnswer]:
            made = make(joined)
            answer = made.write()
            return answer, made.write(without=secret) if secret else answer

        return answer_once(sessions, RequestKey(self.caller.tenant_id, self.key, self._digest()), carry_out)

    def _digest(self) -> str:
        body = getattr(self.request.state, "body_digest", "")  # none is read if the route takes none
        return hashlib.sha256(f"{self.request.method} {self.request.scope['path']} {body}".encode()).hexdigest()


async def read_once(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="A key of your own, such as a UUID, 1 to 255 visible ASCII characters, with or without quotes. "
            "A request with the same key, path and body gets the first answer again for 14 days, with the header "
            f"`{REPLAYED}: true`. Another body is refused with 422.",
            examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
        ),
    ] = None,
) -> Once:
    """Read the request's key. Raises `InvalidInput`."""
    return Once(
        request, request.state.caller, None if key is None else _read_key(", ".join(request.headers.getlist(HEADER)))
    )


def _read_key(text: str) -> str:
    """Return the key. The quotes of a structured field's string are not part of it (RFC 9651)."""
    found = _KEY.fullmatch(text)
    key = found and (found["bare"] or re.sub(r"\\(.)", r"\1", found["quoted"]))
    if not key or len(key) > _KEY_LENGTH:
        raise InvalidInput([Problem(HEADER, f"must be 1 to {_KEY_LENGTH} visible ASCII characters, in quotes or bare")])
    return key


OnceDep = Annotated[Once, Depends(read_once)]
