"""The simulated content delivery network: videos of completed tasks, and every download fault."""

import asyncio
import gzip
import tempfile

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.handlers.substitutes import make_other, write_page
from sandbox.wavespeed.http.answers import Cut, Dripped, Hung
from sandbox.wavespeed.http.gate import GatedService, broken
from sandbox.wavespeed.media.containers import MEDIA_TYPES, remux
from sandbox.wavespeed.media.videos import Clip, render
from sandbox.wavespeed.state.faults import Strike
from sandbox.wavespeed.state.tasks import Task

MP4 = MEDIA_TYPES["mp4"]


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


async def download_output(service: GatedService, request: Request) -> ASGIApp:
    """GET /output/{id}.mp4: the video of a completed task, without a key, while the prediction is kept."""
    provider = service.provider
    task = provider.find(request.path_params["task_id"])
    if task is None or not task.has_video:
        return PlainTextResponse("not found", status_code=404)
    strike = provider.faults.aim(task.asked.as_subject("download"))
    if instead := _fail(strike) or _replace(strike, task):
        return instead
    video = await asyncio.to_thread(render, Clip.of(task), shows_words=provider.settings.show_prompts)
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
        return write_page(rule.form, same=rule.same)
    if rule := strike("download_other"):
        return make_other(task, rule.form)
    if strike("download_empty"):
        return Response(b"", media_type=MP4)
    return None


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
