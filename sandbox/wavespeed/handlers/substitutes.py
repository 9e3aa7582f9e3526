"""Answers that replace a video: documents that report an error, and files of another kind."""

import io
import json
import random
import secrets

from starlette.responses import Response

from sandbox.wavespeed.media.videos import draw_words, make_free_box, make_tone
from sandbox.wavespeed.state.tasks import Task

NOISE_BYTES = 20_000
NOISE = range(0x80, 0xC0)
"""Bytes that start neither a UTF-8 character nor a packet or frame of any container."""
SOUND_SECONDS = 2


def write_page(form: str, *, same: bool) -> Response:
    """A document with status 200: `html`, `json` or `xml`. It has a new request id, or none if `same`."""
    request_id = "" if same else secrets.token_hex(8)
    match form:
        case "json":
            body = json.dumps({"code": 500, "message": "Internal error", "request_id": request_id})
            return Response(body, media_type="application/json")
        case "xml":
            body = f"<Error><Code>InternalError</Code><RequestId>{request_id}</RequestId></Error>"
            return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{body}', media_type="application/xml")
        case _:
            body = f"<html><body><h1>200 OK</h1><p>Request id: {request_id}</p></body></html>\r\n"
            return Response(body, media_type="text/html")


def make_other(task: Task, form: str) -> Response:
    """A file that is no video: `noise`, `image`, `audio` or `text`. Each task has its own, always the same one."""
    match form:
        case "image":
            picture = io.BytesIO()
            draw_words(task.id, width=640, height=360).save(picture, "PNG")
            return Response(picture.getvalue(), media_type="image/png")
        case "audio":
            return Response(make_tone(SOUND_SECONDS) + make_free_box(task.id), media_type="audio/mp4")
        case "text":
            return Response(f"The render {task.id} is complete.\n" * 20, media_type="text/plain")
        case _:
            luck = random.Random(f"noise:{task.id}")  # noqa: S311 - not for secrets
            return Response(bytes(luck.choices(NOISE, k=NOISE_BYTES)), media_type="video/mp4")
