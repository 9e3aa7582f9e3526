"""The client's files: both generations of upload endpoints, and the download of uploaded files."""

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse
from starlette.types import ASGIApp

from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.bodies import base_of, read_integer, read_object, read_text
from sandbox.wavespeed.http.gate import GatedService
from sandbox.wavespeed.media.uploads import Upload, refuse_large

TOKEN_HEADER = "x-upload-token"  # noqa: S105 - the name of a header
MULTIPART_BYTES = 2**20
"""Room for everything in a multipart body but the file."""


def not_found() -> PlainTextResponse:
    return PlainTextResponse("not found", status_code=404)


async def upload_binary(service: GatedService, request: Request) -> ASGIApp:
    """POST /media/upload/binary: multipart with the field `file`."""
    refuse_large(int(request.headers.get("content-length") or 0) - MULTIPART_BYTES)
    try:
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile) or file.size is None:
                raise Refusal(400, "file is required")
            upload = service.media.announce(file.filename or "upload", file.size, content_type=file.content_type)
            upload.store(await file.read())
    except MultiPartException as error:
        raise Refusal(400, error.message) from None
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
        "url": f"{base_of(request)}/upload/{upload.path.name}",
        "headers": _list_headers(upload),
    }
    return envelope(_show_upload(upload, request) | {"upload": instruction})


async def put_upload(service: GatedService, request: Request) -> ASGIApp:
    """PUT of the bytes of a ticket, with exactly its headers and no key, as for a signed storage address."""
    upload = service.media.find(request.path_params["name"])
    if upload is None:
        raise Refusal(404, "unknown upload")
    is_signed = all(request.headers.get(name) == value for name, value in _list_headers(upload).items())
    if "authorization" in request.headers or not is_signed:
        raise Refusal(403, "the headers do not match the signature")
    upload.store(await request.body())
    return PlainTextResponse("")


async def download_media(service: GatedService, request: Request) -> ASGIApp:
    """GET /media/{name}: an uploaded file, without a key."""
    upload = service.media.find(request.path_params["name"])
    if upload is None or not upload.path.exists():
        return not_found()
    return FileResponse(upload.path, media_type=upload.content_type)


def _list_headers(upload: Upload) -> dict[str, str]:
    return {"Content-Type": upload.content_type, TOKEN_HEADER: upload.token}


def _show_upload(upload: Upload, request: Request) -> dict[str, object]:
    return {
        "type": upload.type,
        "download_url": f"{base_of(request)}/media/{upload.path.name}",
        "filename": upload.filename,
        "size": upload.size,
    }
