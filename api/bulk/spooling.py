"""Bodies of many lines, which are written to a file as they arrive: they may be larger than the memory."""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Annotated

from fastapi import Depends, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from api.deps import MEGABYTE, get_runtime, take_body

HINT = ", the most that this API accepts (RUSHES_MAX_PUSH_SIZE): send it in several requests"
MEDIA_TYPES = ("application/x-ndjson", "application/jsonl")


@dataclass(frozen=True, slots=True)
class SpooledLines:
    """A body in a temporary file, which ends with the request."""

    file: IO[bytes]
    is_gzip: bool


async def spool_lines(request: Request) -> AsyncIterator[SpooledLines]:
    """Write a body of JSON Lines, plain or gzip, to a file of at most `RUSHES_MAX_PUSH_SIZE`.

    `request.state.body_digest` is then its SHA-256. No two large bodies are handled at a time. A gzip body counts as
    large, because it may expand.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
        raise HTTPException(415, f"send a job per line, with the header `Content-Type: {MEDIA_TYPES[0]}`")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise HTTPException(415, "send the body without compression, or with `Content-Encoding: gzip`")
    limit = (await get_runtime(request)).settings.max_push_size
    waiting = bytearray()
    with tempfile.TemporaryFile() as file:

        async def write(chunk: bytes) -> None:
            waiting.extend(chunk)
            if len(waiting) > MEGABYTE:
                await run_in_threadpool(file.write, bytes(waiting))
                waiting.clear()

        is_gzip = encoding == "gzip"
        async with take_body(request, limit, write, hint=HINT, is_large=is_gzip):
            file.write(waiting)
            file.seek(0)
            yield SpooledLines(file, is_gzip)


LinesBody = Annotated[SpooledLines, Depends(spool_lines)]
