"""The simulated content delivery network: videos of completed tasks, and every download fault."""

import gzip
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.wavespeed.handlers.files import file_answer, not_found
from sandbox.wavespeed.handlers.substitutes import make_other, write_page
from sandbox.wavespeed.http.answers import Cut, Dripped, Hung
from sandbox.wavespeed.http.gate import GatedService, broken
from sandbox.wavespeed.media.containers import MEDIA_TYPES
from sandbox.wavespeed.media.videos import VideoShelf
from sandbox.wavespeed.state.faults import Subject
from sandbox.wavespeed.state.tasks import Task


class OutputFile:
    """The video of a task, rendered if needed; supports ranges and HEAD."""

    def __init__(self, shelf: VideoShelf, task: Task, *, container: str = "mp4") -> None:
        self._shelf = shelf
        self._task = task
        self._container = container

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = await self._shelf.fetch(self._task, container=self._container)
        with self._shelf.folder.hold(name) as path:
            await file_answer(path, MEDIA_TYPES[self._container])(scope, receive, send)


class AlteredFile:
    """An answer made from the bytes of a task's video."""

    def __init__(self, shelf: VideoShelf, task: Task, alter: Callable[[bytes], Response]) -> None:
        self._shelf = shelf
        self._task = task
        self._alter = alter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = await self._shelf.fetch(self._task)
        with self._shelf.folder.hold(name) as path:
            answer = self._alter(path.read_bytes())
        await answer(scope, receive, send)


async def download_output(service: GatedService, request: Request) -> ASGIApp:
    """GET /output/{id}.mp4: the video of a completed task, without a key, while the prediction is kept."""
    provider = service.provider
    task = provider.find(request.path_params["task_id"])
    if task is None or not task.has_video:
        return not_found()
    if not provider.faults:
        return OutputFile(service.shelf, task)
    answer = _fail(service, task) or _replace(service, task)
    return answer or _worsen(service, task, answer=_alter(service, task) or OutputFile(service.shelf, task))


def _fail(service: GatedService, task: Task) -> ASGIApp | None:
    """Faults that send no file at all."""
    faults, subject = service.provider.faults, _subject(task)
    if rule := faults.strike("download_hang", subject):
        return Hung(rule.delay)
    if rule := faults.strike("download_5xx", subject):
        return broken(rule.status)
    if rule := faults.strike("download_expired", subject):
        return PlainTextResponse("the link has expired", status_code=rule.status)
    return None


def _replace(service: GatedService, task: Task) -> ASGIApp | None:
    """Faults that send something else with status 200."""
    faults, subject = service.provider.faults, _subject(task)
    if rule := faults.strike("download_garbage", subject):
        return write_page(rule.form, same=rule.same)
    if rule := faults.strike("download_other", subject):
        return make_other(task, rule.form)
    if faults.strike("download_empty", subject):
        return Response(b"", media_type="video/mp4")
    return None


def _alter(service: GatedService, task: Task) -> ASGIApp | None:
    """Faults that send the file, or a part of it, in an unusual form."""
    faults, subject, shelf = service.provider.faults, _subject(task), service.shelf
    if rule := faults.strike("download_truncated", subject):
        fraction = rule.fraction
        return AlteredFile(shelf, task, lambda body: _send_bytes(body[: int(len(body) * fraction)]))
    if faults.strike("download_gzip", subject):
        return AlteredFile(shelf, task, _send_gzip)
    if faults.strike("download_partial", subject):
        return AlteredFile(shelf, task, _send_partial)
    if rule := faults.strike("download_container", subject):
        return OutputFile(shelf, task, container=rule.form)
    return None


def _worsen(service: GatedService, task: Task, *, answer: ASGIApp) -> ASGIApp:
    faults, subject = service.provider.faults, _subject(task)
    if rule := faults.strike("download_slow", subject):
        answer = Dripped(answer, rule.delay)
    if rule := faults.strike("download_cut", subject):
        answer = Cut(answer, rule.fraction)
    return answer


def _send_bytes(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status_code=status, headers=headers, media_type=MEDIA_TYPES["mp4"])


def _send_gzip(body: bytes) -> Response:
    return _send_bytes(gzip.compress(body, mtime=0), headers={"content-encoding": "gzip"})


def _send_partial(body: bytes) -> Response:
    return _send_bytes(body, status=206, headers={"content-range": f"bytes 0-{len(body) - 1}/{len(body)}"})


def _subject(task: Task) -> Subject:
    return Subject("download", task.asked.model.id, task.asked.prompt)
