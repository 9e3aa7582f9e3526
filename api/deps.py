"""Dependencies of the routes: the runtime, links, and bodies that are read once and limited in size."""

from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from typing import Annotated
from uuid import UUID

from fastapi import Depends, HTTPException, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor

from api import examples
from api.schemas.actions import NewAction
from api.schemas.jobs import Links
from api.schemas.orders import JobsToPrice, NewBatch, RetryAsked
from api.schemas.pruning import PruneAsked
from api.schemas.unconfirmed import Abandonment, Adoption
from api.validation import Schema, read_schema
from rushes.errors import InvalidInput, Problem
from rushes.jobs.choosing import find_job_id
from rushes.jobs.pushing import JobOrder
from rushes.runtime import Runtime

MEGABYTE = 1_000_000
JOB_BYTES = MEGABYTE
"""A prompt of 5,000 characters takes 60 kB if every character is escaped."""
LARGE_BYTES = 8 * MEGABYTE
"""Larger bodies are read one at a time: each takes several times its size in memory until its jobs are stored."""
FILE_JOB_BYTES = 42 * MEGABYTE
"""A data URL of the largest upload takes 40 MB."""

_PERSON_LENGTH = 100


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
    """Return links that work for this client, whatever host name or proxy it used."""
    return Links(str(request.base_url))


async def get_person(request: Request) -> str:
    """Name the caller for the history: the user that a proxy with a login names, else the client's address.

    The name is not verified.
    """
    address = request.client.host if request.client else "unknown"
    return (request.headers.get("x-forwarded-user", "").strip() or address)[:_PERSON_LENGTH]


async def find_job(
    request: Request,
    job_id: Annotated[str, Path(description="The job's id, or `BATCH/NUMBER`.", examples=[examples.JOB_ID])],
) -> UUID:
    """Return the id of the job that a path names."""
    batch, slash, number = job_id.rpartition("/")
    if slash:
        return await run_in_threadpool(find_job_id, request.app.state.runtime.sessions, batch, int(number))
    try:
        return UUID(job_id)
    except ValueError:
        raise InvalidInput([Problem("job_id", "must be a UUID or BATCH/NUMBER")]) from None


def body_of(schema: type[Schema], *, limit_bytes: int | None = None) -> Callable[[Request], AsyncIterator[Schema]]:
    """Return a dependency that reads a JSON body and checks it against the schema.

    Without `limit_bytes`, the limit is `RUSHES_MAX_PUSH_SIZE`. FastAPI's own parser takes more time and memory and
    accepts lone surrogates (docs/decisions/0016).
    """

    async def read(request: Request) -> AsyncIterator[Schema]:
        _require_json(request)
        most = limit_bytes or (await get_runtime(request)).settings.max_push_size
        hint = "" if limit_bytes else ", the most that this API accepts (RUSHES_MAX_PUSH_SIZE): split the batch"
        announced = request.headers.get("content-length", "")
        is_small = most <= LARGE_BYTES or (announced.isdecimal() and int(announced) <= LARGE_BYTES)
        async with nullcontext() if is_small else request.app.state.large_body:
            yield read_schema(schema, await read_bounded(request, most, hint=hint))

    return read


async def read_retry(request: Request) -> RetryAsked | None:
    """Read the body of a retry, which may be missing."""
    body = await read_bounded(request, FILE_JOB_BYTES)
    if not body:
        return None
    _require_json(request)
    return read_schema(RetryAsked, body)


def _require_json(request: Request) -> None:
    # This also keeps other web pages out: a browser sends this type only after asking for permission.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send the body as JSON, with the header `Content-Type: application/json`")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "send the body without compression")


async def read_bounded(request: Request, limit_bytes: int, *, hint: str = "") -> bytearray:
    """Read a body of at most `limit_bytes`."""
    too_large = HTTPException(413, f"the body has more than {limit_bytes:,} bytes{hint}")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise too_large
    return body


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
LinksDep = Annotated[Links, Depends(get_links)]
JobId = Annotated[UUID, Depends(find_job)]
PersonDep = Annotated[str, Depends(get_person)]
JobBody = Annotated[JobOrder, Depends(body_of(JobOrder, limit_bytes=FILE_JOB_BYTES))]
RetryBody = Annotated[RetryAsked | None, Depends(read_retry)]
JobsBody = Annotated[JobsToPrice, Depends(body_of(JobsToPrice))]
BatchBody = Annotated[NewBatch, Depends(body_of(NewBatch))]
AdoptionBody = Annotated[Adoption, Depends(body_of(Adoption, limit_bytes=JOB_BYTES))]
ActionBody = Annotated[NewAction, Depends(body_of(NewAction, limit_bytes=JOB_BYTES))]
PruneBody = Annotated[PruneAsked, Depends(body_of(PruneAsked, limit_bytes=JOB_BYTES))]
AbandonmentBody = Annotated[Abandonment, Depends(body_of(Abandonment, limit_bytes=JOB_BYTES))]
