"""What schemathesis has to know beyond the OpenAPI document: how a body of lines is sent."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson", "application/jsonl")
def write_lines(_: Any, value: Any) -> bytes:
    """Send text as it is: the document describes the body as text."""
    return str(value).encode(errors="replace")
