"""The simulated content delivery network: videos of completed tasks, and every download fault."""

import asyncio
import gzip
import io
import json
import random
import secrets
import tempfile
import time

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.http.answers import Cut, Dripped, Hung
from sandbox.wavespeed.http.gate import broken
from sandbox.wavespeed.state.faults import Strike
from sandbox.wavespeed.state.provider import Provider
from sandbox.wavespeed.state.tasks import Task
from sandbox.wavespeed.videos import (
    MEDIA_TYPES,
    Clip,
    draw_words,
    make_free_box,
    make_tone,
    remux,
    render,
    render_large,
)

MP4 = MEDIA_TYPES["mp4"]
NOISE_BYTES = 20_000
NOISE = range(0x80, 0xC0)
"""Bytes that start neither a UTF-8 character nor a packet or frame of any container."""
SOUND_SECONDS = 2
CHUNK_BYTES = 512 * 1024


class VideoFile:
    """A file with these bytes, which are always the same for this name; supports ranges and HEAD."""

    def __init__(self, content: bytes, *, name: str, media_type: str = MP4) -> None:
        self._content = content
        self._headers = {"etag": f'"{name}"'}
        self._media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(self._content)
            file.flush()
            await FileResponse(file.name, headers=self._headers, media_type=self._media_type)(scope, receive, send)


class PacedVideo:
    """A file from memory, at a number of bytes per second (0: as fast as possible). No ranges, no HEAD."""

    def __init__(self, *parts: bytes, rate: int) -> None:
        self._parts = parts
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = sum(map(len, self._parts))
        headers = [(b"content-type", MP4.encode()), (b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        began, sent = time.monotonic(), 0
        for part in self._parts:
            for start in range(0, len(part), CHUNK_BYTES):
                chunk = part[start : start + CHUNK_BYTES]
                sent += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": sent < size})
                if self._rate:
                    await asyncio.sleep(began + sent / self._rate - time.monotonic())


async def download_output(provider: Provider, request: Request) -> ASGIApp:
    """GET /output/{id}.mp4: the video of a completed task, without a key, while the prediction is kept."""
    task = provider.find(request.path_params["task_id"])
    if task is None or not task.has_video:
        return PlainTextResponse("not found", status_code=404)
    strike = provider.faults.aim(task.asked.as_subject("download"))
    if instead := _fail(strike) or _replace(strike, task):
        return instead
    settings, clip = provider.settings, Clip.of(task)
    if settings.video_bytes:
        parts = await asyncio.to_thread(render_large, clip, size=settings.video_bytes)
        return _worsen(strike, PacedVideo(*parts, rate=settings.download_rate))
    video = await asyncio.to_thread(render, clip, shows_words=settings.show_prompts)
    return _worsen(strike, await _send(strike, video, name=task.id))


def _fail(strike: Strike) -> ASGIApp | None:
    """Faults that send no file at all."""
    if rule := strike("download_hang"):
        return Hung(rule.delay)
    if rule := strike("download_5xx"):
        return broken(rule.status)
    if rule := strike("download_expired"):
        return PlainTextResponse("the link has expired", status_code=rule.status)
    return None


def _replace(strike: Strike, task: Task) -> ASGIApp | None:
    """Faults that send something else with status 200."""
    if rule := strike("download_garbage"):
        return _write_page(rule.form, same=rule.same)
    if rule := strike("download_other"):
        return _make_other(task, rule.form)
    if strike("download_empty"):
        return Response(b"", media_type=MP4)
    return None


def _write_page(form: str, *, same: bool) -> Response:
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


def _make_other(task: Task, form: str) -> Response:
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


async def _send(strike: Strike, video: bytes, *, name: str) -> ASGIApp:
    """The video; faults send it, or a part of it, in an unusual form."""
    if rule := strike("download_truncated"):
        return Response(video[: int(len(video) * rule.fraction)], media_type=MP4)
    if strike("download_gzip"):
        return Response(gzip.compress(video, mtime=0), headers={"content-encoding": "gzip"}, media_type=MP4)
    if strike("download_partial"):
        headers = {"content-range": f"bytes 0-{len(video) - 1}/{len(video)}"}
        return Response(video, status_code=206, headers=headers, media_type=MP4)
    if rule := strike("download_container"):
        other = await asyncio.to_thread(remux, video, rule.form)
        return VideoFile(other, name=f"{name}.{rule.form}", media_type=MEDIA_TYPES[rule.form])
    return VideoFile(video, name=name)


def _worsen(strike: Strike, answer: ASGIApp) -> ASGIApp:
    if rule := strike("download_slow"):
        answer = Dripped(answer, rule.delay)
    if rule := strike("download_cut"):
        answer = Cut(answer, rule.fraction)
    return answer
