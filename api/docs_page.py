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

    The policy allows scripts from this API and, inline, only the page's own start script.
    """
    root = request.scope.get("root_path", "").rstrip("/")
    page = get_swagger_ui_html(
        openapi_url=f"{root}{request.app.openapi_url}",
        title=request.app.title,
        swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "defaultModelsExpandDepth": 0},
    )
    (script,) = _INLINE.findall(bytes(page.body).decode())
    digest = b64encode(sha256(script.encode()).digest()).decode()
    page.headers["Content-Security-Policy"] = _POLICY.format(digest=digest)
    return page
