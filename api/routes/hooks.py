"""Webhooks from the provider."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from api import examples
from api.deps import RuntimeDep, read_bounded
from api.openapi import problems
from rushes.webhooks import Webhook, take_webhook

HOOK_BYTES = 1_000_000
"""What a prediction tells of itself takes a kilobyte or two, with its input a hundred at most."""

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])

Token = Annotated[str, Path(description="What the address was given out with.", examples=[examples.HOOK_TOKEN])]


async def read_body(request: Request) -> bytes:
    """The bytes as they came: those are what is signed."""
    return bytes(await read_bounded(request, HOOK_BYTES))


@router.post(
    "/wavespeed/{token}",
    summary="Take a webhook",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It was taken."}, **problems(401, 404, 413, 503)},
    openapi_extra={
        "parameters": [
            {
                "name": f"webhook-{name}",
                "in": "header",
                "required": True,
                "description": about,
                "schema": {"type": "string"},
            }
            for name, about in (
                ("id", "The provider's id of the webhook."),
                ("timestamp", "When it was signed, in Unix seconds; at most 300 seconds ago."),
                ("signature", "`v3,` and the HMAC-SHA256 of id, timestamp and body, as hex."),
            )
        ]
    },
)
async def take(
    *, token: Token, request: Request, body: Annotated[bytes, Depends(read_body)], runtime: RuntimeDep
) -> None:
    """For the provider alone: it is given this address, with a token of its own, when a prediction is submitted.

    A completed prediction is taken as the provider's answer, once the first ones have agreed with a check; anything
    else leads to a check at once. Sending it twice changes nothing. What is not signed by the provider is refused.
    """
    await run_in_threadpool(take_webhook, runtime, Webhook(token, dict(request.headers), body))
