"""Files as inputs of jobs."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.concurrency import run_in_threadpool

from api import examples
from api.access import CallerDep
from api.deps import RuntimeDep, read_bounded
from api.openapi import answers, sends
from api.schemas.orders import UploadKept
from rushes.access.callers import PUSH
from rushes.jobs.uploads import LARGEST_UPLOAD, keep_upload, use_upload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

Digest = Annotated[
    str, Path(description="The SHA-256 of the file.", pattern="^[0-9a-f]{64}$", examples=[examples.UPLOAD_SHA256])
]


async def read_file(request: Request) -> AsyncIterator[bytes]:
    """Read the body. A browser sends these types for another web site only after asking us for permission."""
    if not request.headers.get("content-type", "").lower().startswith(("image/", "video/", "application/octet-stream")):
        raise HTTPException(415, "send the bytes of an image or a video, with its `Content-Type`")
    async with read_bounded(request, LARGEST_UPLOAD, hint="; give an http(s) URL instead") as body:
        yield bytes(body)


@router.post(
    "",
    summary="Store a file",
    **answers(PUSH, 201, "The file is stored.", examples.UPLOAD, 408, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, **sends("An image or a video.", "application/octet-stream")}},
)
async def keep(content: Annotated[bytes, Depends(read_file)], runtime: RuntimeDep, caller: CallerDep) -> UploadKept:
    """Store an image or a video of at most 30 MB, once per content. Use `reference` as the address in jobs.

    Rushes keeps the file while a job uses it, and for at least a day after you last sent it or asked for it. It sends
    the file to the provider before it submits the first job that uses it.
    """
    kept = await run_in_threadpool(keep_upload, runtime.sessions, content, tenant_id=caller.tenant_id)
    return UploadKept.of(kept)


@router.get("/{sha256}", summary="Find a file", **answers(PUSH, 200, "The file is stored.", examples.UPLOAD, 404, 422))
def find(sha256: Digest, runtime: RuntimeDep, caller: CallerDep) -> UploadKept:
    """Check whether a file is stored, and keep it for another day, so that a push need not send it again."""
    return UploadKept.of(use_upload(runtime.sessions, sha256, tenant_id=caller.tenant_id))
