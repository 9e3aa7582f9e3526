"""The interactive page at /docs. Its scripts come with a package, so it also opens without a network."""

import re
from base64 import b64encode
from hashlib import sha256

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

ASSETS = "/docs/assets"
"""Where the page's scripts and styles are served."""

router = APIRouter(include_in_schema=False)

_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_POLICY = (
    "default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/")
async def open_docs() -> RedirectResponse:
    """Redirect the root to the documentation."""
    return RedirectResponse("docs")


@router.get("/docs")
async def show_docs(request: Request) -> HTMLResponse:
    """Show every route, with a form to try it.

    The policy allows scripts from this API and, inline, only the page's own start script. Addresses are relative to the
    page's, so that it works below any path of a proxy.
    """
    assets = ASSETS.lstrip("/")
    page = get_swagger_ui_html(
        openapi_url=request.app.openapi_url.lstrip("/"),
        title=request.app.title,
        swagger_js_url=f"{assets}/swagger-ui-bundle.js",
        swagger_css_url=f"{assets}/swagger-ui.css",
        swagger_favicon_url=f"{assets}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 0},
    )
    (script,) = _INLINE.findall(bytes(page.body).decode())
    digest = b64encode(sha256(script.encode()).digest()).decode()
    page.headers["Content-Security-Policy"] = _POLICY.format(digest=digest)
    return page
