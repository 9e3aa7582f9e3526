"""The API that the commands talk to."""

from rushes.settings import Settings, load_settings
from rushes_client import Rushes


def open_api(settings: Settings | None = None) -> Rushes:
    """Return a client for the API that the settings name. Without `settings`, it reads the environment."""
    settings = settings or load_settings()
    headers = {"User-Agent": "rushes-cli", **settings.get_api_headers()}
    return Rushes(settings.url, key=settings.find_api_key(), headers=headers, ca_file=settings.ca_file)
