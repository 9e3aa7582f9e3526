"""The client's files: both generations of upload endpoints, and the download of uploaded files."""

from collections.abc import AsyncIterator
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.bodies import base_of, read_integer, read_object, read_text
from sandbox.wavespeed.http.gate import GatedService
from sandbox.wavespeed.media.folders import BoundedFolder
from sandbox.wavespeed.media.uploads import UPLOAD_LIMIT, Upload

TOKEN_HEADER = "x-upload-token"  # noqa: S105 - the name of a header
CHUNK_BYTES = 2**20


class MediaFile:
    """An uploaded file, if there was room to keep it."""

    def __init__(self, folder: BoundedFolder, upload: Upload) -> None:
        self._folder = folder
        self._upload = upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._upload.name not in self._folder:
            await not_found()(scope, receive, send)
            return
        with self._folder.hold(self._upload.name) as path:
            await file_answer(path, self._upload.content_type)(scope, receive, send)


def file_answer(path: Path, media_type: str) -> FileResponse:
    """A file answer that supports ranges and HEAD."""
    # a removed video is rendered again with the same bytes, so the ETag must not depend on the file's age
    return FileResponse(path, headers={"etag": f'"{path.name}"'}, media_type=media_type)


def not_found() -> PlainTextResponse:
    return PlainTextResponse("not found", status_code=404)


async def upload_binary(service: GatedService, request: Request) -> ASGIApp:
    """POST /media/upload/binary: multipart with the field `file`."""
    if int(request.headers.get("content-length") or 0) > UPLOAD_LIMIT + CHUNK_BYTES:
        raise Refusal(413, f"the file is too large: at most {UPLOAD_LIMIT // 2**20} MB")
    try:
        form = await request.form()
    except MultiPartException as error:
        raise Refusal(400, error.message) from None
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile) or file.size is None:
            raise Refusal(400, "file is required")
        upload = service.media.announce(file.filename or "upload", file.size, content_type=file.content_type)
        await service.media.receive(upload, _chunks(file))
    finally:
        await form.close()
    return envelope(_show_upload(upload, request))


async def create_upload(service: GatedService, request: Request) -> ASGIApp:
    """POST /media/uploads: a ticket with the address and headers for the PUT of the bytes, which needs no key."""
    body = await read_object(request)
    filename = read_text(body, "filename")
    if filename is None:
        raise Refusal(400, "filename is required")
    size = read_integer(body, "size", low=1)
    upload = service.media.announce(filename, size, content_type=read_text(body, "content_type"))
    instruction = {
        "method": "PUT",
        "url": f"{base_of(request)}/upload/{upload.name}",
        "headers": {"Content-Type": upload.content_type, TOKEN_HEADER: upload.token},
    }
    return envelope(_show_upload(upload, request) | {"upload": instruction})


async def put_upload(service: GatedService, request: Request) -> ASGIApp:
    """PUT of the bytes of a ticket, with exactly its headers and no key, as for a signed storage address."""
    upload = service.media.find(request.path_params["name"])
    if upload is None:
        raise Refusal(404, "unknown upload")
    signed = {"content-type": upload.content_type, TOKEN_HEADER: upload.token}
    if "authorization" in request.headers or any(request.headers.get(name) != each for name, each in signed.items()):
        raise Refusal(403, "the headers do not match the signature")
    await service.media.receive(upload, request.stream())
    return PlainTextResponse("")


async def download_media(service: GatedService, request: Request) -> ASGIApp:
    """GET /media/{name}: an uploaded file, without a key."""
    upload = service.media.find(request.path_params["name"])
    if upload is None:
        return not_found()
    return MediaFile(service.media.folder, upload)


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(CHUNK_BYTES):
        yield chunk


def _show_upload(upload: Upload, request: Request) -> dict[str, object]:
    return {
        "type": upload.type,
        "download_url": f"{base_of(request)}/media/{upload.name}",
        "filename": upload.filename,
        "size": upload.size,
    }
