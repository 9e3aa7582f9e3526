"""The caller's own values of a job, which Rushes stores and returns: `client_ref` and `metadata`."""

import json
import re
from collections.abc import Iterator
from typing import Any

from rushes.errors import Problem

METADATA_BYTES = 4_096
CLIENT_REF_LIMIT = 200
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON writes it; an even number of backslashes is text


def check_client_ref(reference: str | None) -> Iterator[Problem]:
    """Yield what is wrong with a `client_ref`, apart from its length."""
    if reference is not None and not (reference.isprintable() and reference.strip()):
        yield Problem("client_ref", "must not be blank, and must not hold line breaks or other control characters")


def check_metadata(metadata: dict[str, Any] | None) -> Iterator[Problem]:
    """Yield what is wrong with a job's `metadata`."""
    if not metadata:
        return
    if len(json.dumps(metadata, ensure_ascii=False).encode(errors="replace")) > METADATA_BYTES:
        yield Problem("metadata", f"must have at most {METADATA_BYTES:,} bytes as JSON")
    elif reason := find_unstorable(metadata):
        yield Problem("metadata", reason)


def find_unstorable(values: dict[str, Any]) -> str | None:
    """Return why Postgres cannot store these values as JSON, if it cannot."""
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return "must not contain NaN or an infinite number"
    is_broken = _NUL.search(text) or any("\ud800" <= char <= "\udfff" for char in text)
    return "must not contain NUL or half of a surrogate pair" if is_broken else None
