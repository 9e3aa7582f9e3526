"""Commands that can be pasted into a shell, one per route."""

import json
import shlex

from api.examples import Json


def curl_line(route: Json, *, method: str, url: str) -> str:
    """Return a curl command for this route, with the document's own examples."""
    for parameter in route.get("parameters", []):
        if parameter["in"] == "path":
            url = url.replace(f"{{{parameter['name']}}}", _example_of(parameter))
    parts = ["curl" if "application/json" in _answer_types(route) else "curl -OJ"]
    if method != "get":
        parts.append(f"-X {method.upper()}")
    lines = [" ".join([*parts, shlex.quote(url)])]
    if "requestBody" in route:
        examples = route["requestBody"]["content"]["application/json"]["examples"]
        body = json.dumps(next(iter(examples.values()))["value"], indent=2, ensure_ascii=False)
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(body)}"]
    return " \\\n  ".join(lines)


def _example_of(parameter: Json) -> str:
    return str(parameter["schema"].get("examples", [parameter["name"]])[0])


def _answer_types(route: Json) -> set[str]:
    """Return the media types of the successful answers."""
    return {kind for status, each in route["responses"].items() if status < "3" for kind in each.get("content", {})}
