"""The provider's ticket for an upload, read as its own clients read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rushes.catalog import check_url
from rushes.wavespeed.envelope import Reply


@dataclass(frozen=True, slots=True)
class PutTicket:
    """Where to PUT a file, and the file's address afterwards. The target and the headers are secret, like a key."""

    address: str
    origin: str = field(repr=False)
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


def read_upload_ticket(reply: Reply) -> PutTicket | None:
    """Return the ticket in a reply; None if it holds no usable one."""
    data = reply.data if reply.is_success and isinstance(reply.data, Mapping) else {}
    place = data.get("upload")
    if not isinstance(place, Mapping) or place.get("method", "PUT") != "PUT":
        return None
    address, url, headers = data.get("download_url"), place.get("url"), place.get("headers") or {}
    if check_url(address) or check_url(url) or not isinstance(headers, Mapping):
        return None
    parts = urlsplit(str(url))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    own = {str(name): str(value) for name, value in headers.items()}
    return PutTicket(str(address), f"{parts.scheme}://{parts.netloc}", target, own)
