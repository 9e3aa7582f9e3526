"""Webhooks from the provider."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from api import examples
from api.deps import RuntimeDep, read_bounded
from api.openapi import problems
from rushes.webhooks import Webhook, take_webhook

HOOK_BYTES = 1_000_000
"""Limit of a body. A prediction takes 1 to 2 kB without its input and at most 100 kB with it."""

router = APIRouter(prefix="/v1/hooks", tags=["hooks"])

Token = Annotated[str, Path(description="The token that was issued with the address.", examples=[examples.HOOK_TOKEN])]


async def read_body(request: Request) -> bytes:
    """Return the bytes as received, because the signature covers them."""
    async with read_bounded(request, HOOK_BYTES) as body:
        return bytes(body)


@router.post(
    "/wavespeed/{token}",
    summary="Take a webhook",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "The webhook was accepted."}, **problems(401, 404, 408, 413, 503)},
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
    """Only for the provider. It receives this address with each submission, with a separate token for each prediction.

    Once five webhooks have agreed with checks, a webhook about a completed prediction is accepted as the provider's
    answer. Any other webhook triggers a check at once. Sending a webhook twice changes nothing. A webhook that the
    provider did not sign is refused.
    """
    await run_in_threadpool(take_webhook, runtime, Webhook(token, dict(request.headers), body))
