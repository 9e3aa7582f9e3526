"""Dependencies of the routes: the runtime, links, and bodies that are read once and limited in size."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor

from api import examples
from api.access import CallerDep
from api.schemas.actions import NewAction
from api.schemas.jobs import Links
from api.schemas.orders import BatchOrder, JobsToPrice, RetryAsked, SingleJobOrder
from api.schemas.pruning import PruneAsked
from api.schemas.unconfirmed import Abandonment, Adoption
from api.validation import Schema, read_schema
from models import Action, queries
from models.db.session import transaction
from rushes.jobs.choosing import find_batch_id, find_job_id, require_seen
from rushes.runtime import Runtime

MEGABYTE = 1_000_000
JOB_BYTES = MEGABYTE
"""A prompt of 5,000 characters takes 60 kB if every character is escaped."""
LARGE_BYTES = 8 * MEGABYTE
"""Two larger bodies are read at a time, and one is handled: it takes several times its size until it is stored."""
STALL_SECONDS, LEAST_BYTES_PER_SECOND = 30.0, 100_000
"""A body may take this long, and longer by its size: clients that stall must not keep others from pushing."""
TOO_SLOW = "the body arrived too slowly: less than 100 kB per second, after the first 30 seconds; nothing was stored"
FILE_JOB_BYTES = 42 * MEGABYTE
"""A data URL of the largest upload takes 40 MB."""


class JobPath(StringConvertor):
    """The part of a path that names a job: its id, or BATCH/NUMBER."""

    regex = "[^/]+(?:/[0-9]{1,9})?"


register_url_convertor("job", JobPath())


# Dependencies are coroutines although they wait for nothing: FastAPI would run a function in a thread of its own.
async def get_runtime(request: Request) -> Runtime:
    """Return the runtime of this process."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_links(request: Request) -> Links:
    """Return links below `RUSHES_API_BASE`, or else below the address that this client has used."""
    return find_links(request)


def find_links(request: Request) -> Links:
    """Return the same, for a function that has the request."""
    return Links(request.app.state.runtime.settings.api_base or str(request.base_url))


async def find_job(
    request: Request,
    caller: CallerDep,
    job_id: Annotated[str, Path(description="The job's id, or `BATCH/NUMBER`.", examples=[examples.JOB_ID])],
) -> UUID:
    """Return the id of the job that a path names. Raises `NotFound`, also for one that the caller may not see."""
    return await _find(request, lambda session: find_job_id(session, job_id, caller))


async def find_batch(
    request: Request,
    caller: CallerDep,
    name: Annotated[
        str,
        Path(
            description="The batch's name or id; `TENANT:NAME` for one of another tenant.",
            examples=["pilot"],
        ),
    ],
) -> UUID:
    """Return the id of the batch that a path names. Raises as `find_job` does."""
    return await _find(request, lambda session: find_batch_id(session, name, caller))


async def find_prediction(
    request: Request,
    caller: CallerDep,
    prediction_id: Annotated[UUID, Path(description="The prediction's id.", examples=[examples.PREDICTION_ID])],
) -> UUID:
    """Return the id of a prediction. Raises as `find_job` does."""

    def check(session: Session) -> UUID:
        owner = queries.keys.find_prediction_owner(session, prediction_id)
        require_seen(owner, f"prediction {prediction_id}", caller)
        return prediction_id

    return await _find(request, check)


async def find_action(
    request: Request,
    caller: CallerDep,
    action_id: Annotated[UUID, Path(description="The action's id.", examples=[examples.ACTION_ID])],
) -> UUID:
    """Return the id of an action. Raises as `find_job` does."""

    def check(session: Session) -> UUID:
        require_seen(queries.keys.find_owner(session, Action, action_id), f"action {action_id}", caller)
        return action_id

    return await _find(request, check)


async def _find(request: Request, find: Callable[[Session], UUID]) -> UUID:
    def ask() -> UUID:
        with transaction(request.app.state.runtime.sessions) as session:
            return find(session)

    return await run_in_threadpool(ask)


def body_of(schema: type[Schema], *, limit_bytes: int | None = None) -> Callable[[Request], AsyncIterator[Schema]]:
    """Return a dependency that reads a JSON body and checks it against the schema.

    Without `limit_bytes`, the limit is `RUSHES_MAX_PUSH_SIZE`. FastAPI's own parser takes more time and memory and
    accepts lone surrogates (docs/decisions/0016).
    """

    async def read(request: Request) -> AsyncIterator[Schema]:
        _require_json(request)
        most = limit_bytes or (await get_runtime(request)).settings.max_push_size
        hint = "" if limit_bytes else ", the most that this API accepts (RUSHES_MAX_PUSH_SIZE): split the batch"
        async with read_bounded(request, most, hint=hint) as body:
            yield read_schema(schema, body)

    return read


async def read_retry(request: Request) -> AsyncIterator[RetryAsked | None]:
    """Read the body of a retry, which may be missing."""
    if "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0":
        _require_json(request)
    async with read_bounded(request, FILE_JOB_BYTES) as body:
        yield read_schema(RetryAsked, body) if body else None


def _require_json(request: Request) -> None:
    # This also keeps other web pages out: a browser sends this type only after asking for permission.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send the body as JSON, with the header `Content-Type: application/json`")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "send the body without compression")


@asynccontextmanager
async def read_bounded(request: Request, limit_bytes: int, *, hint: str = "") -> AsyncIterator[bytearray]:
    """Read a body into memory, as `take_body` does."""
    body = bytearray()

    async def keep(chunk: bytes) -> None:
        body.extend(chunk)

    async with take_body(request, limit_bytes, keep, hint=hint):
        yield body


@asynccontextmanager
async def take_body(
    request: Request,
    limit_bytes: int,
    take: Callable[[bytes], Awaitable[None]],
    *,
    hint: str = "",
    is_large: bool = False,
) -> AsyncIterator[None]:
    """Take a body of at most `limit_bytes`, as long as it arrives at `LEAST_BYTES_PER_SECOND` on average.

    `request.state.body_digest` is then its SHA-256. If it is large, no other large body is handled in this block.
    `is_large` says that of a body of any size.
    """
    too_large = HTTPException(413, f"the body has more than {limit_bytes:,} bytes{hint}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise too_large
    async with AsyncExitStack() as held:
        try:
            size = await _take_in_time(request, limit_bytes, take, too_large=too_large, held=held)
        except TimeoutError:
            raise HTTPException(408, TOO_SLOW, headers={"Connection": "close"}) from None
        if size > LARGE_BYTES or is_large:
            await held.enter_async_context(request.app.state.large_body)
        yield


async def _take_in_time(
    request: Request,
    limit_bytes: int,
    take: Callable[[bytes], Awaitable[None]],
    *,
    too_large: HTTPException,
    held: AsyncExitStack,
) -> int:
    clock = asyncio.get_running_loop().time
    size, digest, began = 0, hashlib.sha256(), clock()
    async with asyncio.timeout_at(began + STALL_SECONDS) as patience:
        async for chunk in request.stream():
            was_large = size > LARGE_BYTES
            size += len(chunk)
            if size > limit_bytes:
                raise too_large
            digest.update(chunk)
            await take(chunk)
            if size > LARGE_BYTES and not was_large:
                patience.reschedule(None)  # this wait is not the client's fault
                waits_since = clock()
                await held.enter_async_context(request.app.state.large_reads)
                began += clock() - waits_since
            patience.reschedule(began + STALL_SECONDS + size / LEAST_BYTES_PER_SECOND)
    request.state.body_digest = digest.hexdigest()
    return size


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
LinksDep = Annotated[Links, Depends(get_links)]
JobId = Annotated[UUID, Depends(find_job)]
BatchId = Annotated[UUID, Depends(find_batch)]
PredictionId = Annotated[UUID, Depends(find_prediction)]
ActionId = Annotated[UUID, Depends(find_action)]
JobBody = Annotated[SingleJobOrder, Depends(body_of(SingleJobOrder, limit_bytes=FILE_JOB_BYTES))]
RetryBody = Annotated[RetryAsked | None, Depends(read_retry)]
JobsBody = Annotated[JobsToPrice, Depends(body_of(JobsToPrice))]
BatchBody = Annotated[BatchOrder, Depends(body_of(BatchOrder))]
AdoptionBody = Annotated[Adoption, Depends(body_of(Adoption, limit_bytes=JOB_BYTES))]
ActionBody = Annotated[NewAction, Depends(body_of(NewAction, limit_bytes=JOB_BYTES))]
PruneBody = Annotated[PruneAsked, Depends(body_of(PruneAsked, limit_bytes=JOB_BYTES))]
AbandonmentBody = Annotated[Abandonment, Depends(body_of(Abandonment, limit_bytes=JOB_BYTES))]
