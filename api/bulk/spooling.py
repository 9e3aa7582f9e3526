"""Bodies of many lines, which are written to a file as they arrive: they may be larger than the memory."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import IO, Annotated

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from api.deps import LARGE_BYTES, LEAST_BYTES_PER_SECOND, MEGABYTE, STALL_SECONDS, TOO_SLOW, get_runtime
from api.middleware import count_weight

MEDIA_TYPES = ("application/x-ndjson", "application/jsonl")


@dataclass(frozen=True, slots=True)
class SpooledLines:
    """A body in a temporary file, which ends with the request."""

    file: IO[bytes]
    is_gzip: bool


async def spool_lines(request: Request) -> AsyncIterator[SpooledLines]:
    """Write a body of JSON Lines, plain or gzip, to a file of at most `RUSHES_MAX_PUSH_SIZE`.

    `request.state.body_digest` is then its SHA-256. No two large bodies are handled at a time.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise HTTPException(415, f"send a job per line, with the header `Content-Type: {MEDIA_TYPES[0]}`")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise HTTPException(415, "send the body without compression, or with `Content-Encoding: gzip`")
    async with AsyncExitStack() as held:
        file = held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        try:
            size = await _spool(request, file)
        except TimeoutError:
            raise HTTPException(408, TOO_SLOW, headers={"Connection": "close"}) from None
        if size * count_weight(request.scope) > LARGE_BYTES:
            await held.enter_async_context(request.app.state.large_body)
        file.seek(0)
        yield SpooledLines(file, encoding == "gzip")


async def _spool(request: Request, file: IO[bytes]) -> int:
    limit = (await get_runtime(request)).settings.max_push_size
    too_large = f"the body has more than {limit:,} bytes, the most that this API accepts (RUSHES_MAX_PUSH_SIZE)"
    clock, digest, size, waiting = asyncio.get_running_loop().time, hashlib.sha256(), 0, bytearray()
    began = clock()
    async with asyncio.timeout_at(began + STALL_SECONDS) as patience:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise HTTPException(413, f"{too_large}: send it in several requests")
            digest.update(chunk)
            waiting += chunk
            if len(waiting) > MEGABYTE:
                await run_in_threadpool(file.write, bytes(waiting))
                waiting.clear()
            patience.reschedule(began + STALL_SECONDS + size / LEAST_BYTES_PER_SECOND)
    file.write(waiting)
    request.state.body_digest = digest.hexdigest()
    return size


LinesBody = Annotated[SpooledLines, Depends(spool_lines)]
