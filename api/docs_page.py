"""The page at /docs: the OpenAPI document for people. It is self-contained, so it also opens without a network."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from api.docs_markup import Markup, render_example, render_table, render_text, render_type, render_words
from api.docs_samples import curl_line
from api.examples import Json

router = APIRouter(include_in_schema=False)

_TEMPLATE = Template(Path(__file__).with_name("docs_page.html").read_text(encoding="utf-8"))
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@router.get("/")
async def open_docs() -> RedirectResponse:
    """Redirect the root to the documentation."""
    return RedirectResponse("docs")


@router.get("/docs")
def show_docs(request: Request) -> HTMLResponse:
    """Show every route with its parameters, examples and a command to try it."""
    page = render_page(request.app.openapi(), str(request.base_url).rstrip("/"))
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})


def render_page(document: Json, address: str) -> str:
    """Render the page for the OpenAPI document of an API at this address."""
    info, shapes = document["info"], document["components"]["schemas"]
    routes = list(_list_routes(document))
    return _TEMPLATE.substitute(
        title=escape(info["title"]),
        version=escape(info["version"]),
        summary=escape(info["summary"]),
        description=render_text(info["description"]),
        menu=_render_menu(document["tags"], routes),
        routes=_render_routes(document, routes, address),
        shapes="".join(_render_shape(name, shape) for name, shape in sorted(shapes.items())),
    )


def _list_routes(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield method, path, route


def _render_menu(tags: list[Json], routes: list[tuple[str, str, Json]]) -> Markup:
    menu = ""
    for tag in tags:
        links = [
            f'<a href="#{route["operationId"]}">{escape(route["summary"])}</a>'
            for _, _, route in routes
            if tag["name"] in route["tags"]
        ]
        menu += f"<strong>{escape(tag['name'])}</strong>{''.join(links)}"
    return f'{menu}<strong>more</strong><a href="#shapes">Shapes</a>'


def _render_routes(document: Json, routes: list[tuple[str, str, Json]], address: str) -> Markup:
    page = ""
    for tag in document["tags"]:
        page += f'<h2>{escape(tag["name"])}</h2><p class="lead">{escape(tag["description"])}</p>'
        for method, path, route in routes:
            if tag["name"] in route["tags"]:
                page += _render_route(route, method=method, path=path, address=address)
    return page


def _render_route(route: Json, *, method: str, path: str, address: str) -> Markup:
    parts = [
        f'<section class="card" id="{route["operationId"]}"><h3>{escape(route["summary"])}</h3>',
        f'<div class="address"><span class="method {method}">{method.upper()}</span>',
        f'<span class="path">{escape(path)}</span></div>',
        render_text(route["description"]),
        _render_parameters(route.get("parameters", [])),
        _render_body(route),
        f"<h4>Try it</h4><pre>{escape(curl_line(route, method=method, url=address + path))}</pre>",
        "<h4>Answers</h4>",
        *(_render_answer(status, answer) for status, answer in route["responses"].items()),
        "</section>",
    ]
    return "".join(parts)


def _render_parameters(parameters: list[Json]) -> Markup:
    if not parameters:
        return ""
    rows = [
        (
            each["name"],
            f"{each['in']}, {_render_limits(_unless_null(each['schema']))}",
            each["required"],
            each.get("description", ""),
        )
        for each in parameters
    ]
    return f"<h4>Parameters</h4>{render_table(rows)}"


def _unless_null(schema: Json) -> Json:
    """Drop null from the schema of an optional parameter: if it is left out, it has no value at all."""
    given = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    return given[0] if len(given) == 1 else schema


def _render_limits(schema: Json) -> Markup:
    limits = [
        f"{schema[key]} {word}" for key, word in (("minimum", "or more"), ("maximum", "at most")) if key in schema
    ]
    if schema.get("default") is not None:
        limits.append(f"default {escape(str(schema['default']))}")
    return ", ".join([render_type(schema), *limits])


def _render_body(route: Json) -> Markup:
    if "requestBody" not in route:
        return ""
    content = route["requestBody"]["content"]["application/json"]
    examples = "".join(
        f"<details><summary>Example: {escape(each['summary'])}</summary>{render_example(each['value'])}</details>"
        for each in content["examples"].values()
    )
    return f"<h4>Body</h4><p>{render_type(content['schema'])} as JSON</p>{examples}"


def _render_answer(status: str, answer: Json) -> Markup:
    media = next(iter(answer.get("content", {}).items()), None)
    shape = f" {_render_media(*media)}" if media else ""
    head = f"<b>{escape(status)}</b> {render_words(answer['description'])}{shape}"
    if media is None or "example" not in media[1]:
        return f"<details><summary>{head}</summary></details>"
    return f"<details><summary>{head}</summary>{render_example(media[1]['example'])}</details>"


def _render_media(media_type: str, content: Json) -> Markup:
    return f"<code>{escape(media_type)}</code>" if "example" not in content else render_type(content["schema"])


def _render_shape(name: str, shape: Json) -> Markup:
    # Our responses always have every field. Requests may leave out fields, and may have no others.
    required = shape.get("required", []) if shape.get("additionalProperties") is False else []
    rows = [
        (field, _render_limits(schema), field in required, schema.get("description", ""))
        for field, schema in shape.get("properties", {}).items()
    ]
    values = "" if rows else f"<p>{render_type(shape)}</p>"
    head = f'<section class="card" id="shape-{escape(name)}"><h3>{escape(name)}</h3>'
    return f"{head}{render_text(shape.get('description', ''))}{render_table(rows) if rows else values}</section>"
