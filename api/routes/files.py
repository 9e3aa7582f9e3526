"""The stored files of a job."""

from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from api.deps import JobId, PredictionId, RuntimeDep
from api.errors import ProblemResponse
from api.examples import Json
from api.openapi import guards, sends
from models import Artifact, ArtifactKind
from rushes.access.callers import READ
from rushes.errors import NotFound
from rushes.jobs.views import get_duplicate_file, get_file
from rushes.runtime import Runtime

router = APIRouter(prefix="/v1", tags=["jobs"])

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "webm": "video/webm",
    "matroska": "video/x-matroska",
    "gif": "image/gif",
}
UNKNOWN_TYPE = "application/octet-stream"
_VIDEO = sends("The file.", "video/mp4")
_UNVERIFIED = sends("The bytes.", UNKNOWN_TYPE)
_PART = {"description": "The part requested by `Range`."}
_UNCHANGED = {"description": "Unchanged: `If-None-Match` names this file."}

Route = TypeVar("Route", bound=Callable[..., Response])


class StoredFileResponse(FileResponse):
    """A file from disk. A range outside the file is answered with a problem, like every other error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal: ProblemResponse | None = None

        async def hold_back(message: Message) -> None:
            nonlocal refusal
            if message["type"] == "http.response.start" and message["status"] >= 400:
                headers = {name.decode(): value.decode() for name, value in message["headers"]}
                kept = {"Content-Range": headers["content-range"]} if "content-range" in headers else None
                refusal = ProblemResponse(message["status"], "the file does not have that range", headers=kept)
            if refusal is None:
                await send(message)

        await super().__call__(scope, receive, hold_back)
        if refusal is not None:
            await refusal(scope, receive, send)


def _offer(path: str, summary: str, file: Json, *errors: int) -> Callable[[Route], Route]:
    """Offer a file at an address, for GET and for HEAD."""

    def register(route: Route) -> Route:
        answers: dict[int | str, Json] = {200: file, 206: _PART, 304: _UNCHANGED}
        guarded = guards(READ, *errors, 404, 410, 416, 422, responses=answers)
        router.head(path, include_in_schema=False, dependencies=guarded["dependencies"])(route)
        return router.get(path, summary=summary, response_class=FileResponse, **guarded)(route)

    return register


@_offer("/jobs/{job_id:job}/video", "Fetch a job's video", _VIDEO, 409)
def fetch_video(job_id: JobId, request: Request, runtime: RuntimeDep) -> Response:
    """The provider's file, byte for byte. `ETag` is its SHA-256, and range requests are supported.

    409 while the job has no video yet, 404 if it ended without one, 410 if it was removed on purpose.
    """
    return _send_file(request, runtime, get_file(runtime.sessions, job_id, ArtifactKind.VIDEO))


@_offer("/jobs/{job_id:job}/poster", "Fetch a job's poster", sends("The picture.", "image/jpeg"), 409)
def fetch_poster(job_id: JobId, request: Request, runtime: RuntimeDep) -> Response:
    """The first frame of the video as JPEG. Otherwise as for the video."""
    return _send_file(request, runtime, get_file(runtime.sessions, job_id, ArtifactKind.POSTER))


@_offer("/jobs/{job_id:job}/unverified", "Fetch a job's unverified file", _UNVERIFIED, 409)
def fetch_unverified(job_id: JobId, request: Request, runtime: RuntimeDep) -> Response:
    """A downloaded file that the probe rejects as a video. It is always sent as an attachment."""
    return _send_file(request, runtime, get_file(runtime.sessions, job_id, ArtifactKind.UNVERIFIED))


@_offer("/predictions/{prediction_id}/video", "Fetch the video of a duplicate purchase", _VIDEO)
def fetch_duplicate_video(prediction_id: PredictionId, request: Request, runtime: RuntimeDep) -> Response:
    """The video of a prediction found after it was marked not found or refused, and paid for in addition to another.

    Otherwise as for a job's video.
    """
    return _send_file(request, runtime, get_duplicate_file(runtime.sessions, prediction_id, ArtifactKind.VIDEO))


@_offer("/predictions/{prediction_id}/unverified", "Fetch the unverified file of a duplicate purchase", _UNVERIFIED)
def fetch_duplicate_unverified(prediction_id: PredictionId, request: Request, runtime: RuntimeDep) -> Response:
    """The unverified file of a prediction that was paid for in addition to another."""
    return _send_file(request, runtime, get_duplicate_file(runtime.sessions, prediction_id, ArtifactKind.UNVERIFIED))


def _send_file(request: Request, runtime: Runtime, file: Artifact) -> Response:
    headers = {"ETag": f'"{file.sha256}"', "X-Content-Type-Options": "nosniff"}
    # Never show someone else's web page under our own address.
    disposition = "attachment" if file.kind == ArtifactKind.UNVERIFIED else "inline"
    if file.sha256 in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    path = runtime.store.find_path(file.url or "")
    if path is None:
        raise NotFound(f"the {file.kind} of job {file.job_id} is no longer in the store")
    return StoredFileResponse(
        path, filename=path.name, media_type=_media_type(file), headers=headers, content_disposition_type=disposition
    )


def _media_type(file: Artifact) -> str:
    if file.kind == ArtifactKind.POSTER:
        return "image/jpeg"
    return MEDIA_TYPES.get(file.container or "", UNKNOWN_TYPE)
