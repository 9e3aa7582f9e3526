"""Uploads: by one multipart request, or by a ticket and a PUT without a key. The files are kept for seven days."""

import mimetypes
from email.parser import BytesParser
from email.policy import HTTP

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp

from sandbox.wavespeed.http.answers import Refusal, envelope
from sandbox.wavespeed.http.gate import base_of, broken, read_object
from sandbox.wavespeed.state.faults import Subject
from sandbox.wavespeed.state.provider import Provider

LARGEST = 300_000_000
_KINDS = ("image", "video", "audio")


async def upload_form(provider: Provider, request: Request) -> ASGIApp:
    """POST /media/upload/binary: the part `file` of a form. Its content type may be missing, as in an official CLI."""
    if rule := provider.faults.strike("upload_fails", Subject("upload")):
        return broken(rule.status)
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    form = BytesParser(policy=HTTP).parsebytes(head + await request.body())
    parts = form.iter_parts() if form.is_multipart() else iter(())
    part = next((each for each in parts if each.get_param("name", header="content-disposition") == "file"), None)
    content = part.get_payload(decode=True) if part is not None else None
    if part is None or not isinstance(content, bytes) or not content:
        raise Refusal(400, "file is required")
    name = part.get_filename() or "file"
    kind = _find_kind(name, str(part["content-type"] or ""))
    _check_size(len(content))
    file_id = provider.media.add_ticket(len(content), kind)
    provider.media.save(file_id, content, now=provider.now)
    return envelope(_describe(request, file_id, name=name, size=len(content), kind=kind))


async def give_ticket(provider: Provider, request: Request) -> ASGIApp:
    """POST /media/uploads: where to PUT a file of this name, size and type."""
    if rule := provider.faults.strike("upload_fails", Subject("upload")):
        return broken(rule.status) if rule.status >= 500 or not rule.status else _refuse(rule.status)
    body = await read_object(request)
    name, size = body.get("filename"), body.get("size")
    if not isinstance(name, str) or not name or not isinstance(size, int) or size <= 0:
        raise Refusal(400, "filename and size are required")
    _check_size(size)
    content_type = str(body.get("content_type") or mimetypes.guess_type(name)[0] or "application/octet-stream")
    kind = _find_kind(name, content_type)
    file_id = provider.media.add_ticket(size, content_type)
    put = {
        "method": "PUT",
        "url": f"{base_of(request)}/media/{file_id}?signature={file_id[:8]}",
        "headers": {"Content-Type": content_type},
    }
    return envelope(_describe(request, file_id, name=name, size=size, kind=kind) | {"upload": put})


async def take_file(provider: Provider, request: Request) -> ASGIApp:
    """PUT to the address of a ticket, with exactly its headers and without a key."""
    if rule := provider.faults.strike("upload_fails", Subject("put")):
        return broken(rule.status) if rule.status >= 500 or not rule.status else Response(status_code=rule.status)
    file_id = request.path_params["file_id"]
    ticket = provider.media.tickets.get(file_id)
    signed = request.query_params.get("signature") == file_id[:8] and "authorization" not in request.headers
    if ticket is None or not signed or request.headers.get("content-type") != ticket[1]:
        return PlainTextResponse("the signature does not match", status_code=403)
    content = await request.body()
    if len(content) != ticket[0]:
        return PlainTextResponse("the size does not match", status_code=400)
    provider.media.save(file_id, content, now=provider.now)
    return Response(status_code=200)


async def show_file(provider: Provider, request: Request) -> ASGIApp:
    """GET the address of an upload."""
    content = provider.media.find(request.path_params["file_id"], now=provider.now)
    return PlainTextResponse("not found", status_code=404) if content is None else Response(content)


def _refuse(status: int) -> Response:
    return Refusal(status, "this file is not accepted").answer()


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise Refusal(413, "the file is too large: at most 300 MB")


def _find_kind(name: str, content_type: str) -> str:
    found = content_type if content_type.startswith(_KINDS) else mimetypes.guess_type(name)[0] or ""
    kind = found.partition("/")[0]
    if kind not in _KINDS:
        raise Refusal(400, "unsupported file type")
    return kind


def _describe(request: Request, file_id: str, *, name: str, size: int, kind: str) -> dict[str, object]:
    return {
        "type": kind,
        "download_url": f"{base_of(request)}/media/{file_id}/{name}",
        "filename": name,
        "size": size,
    }
