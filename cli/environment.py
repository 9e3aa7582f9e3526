"""The environment of a stack's processes: every setting spelled out, and nothing that contradicts it."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rushes.settings import Settings

_FOREIGN = ("RUSHES_", "WAVESPEED_", "FLOWER_", "CELERY_")
"""Variables that would change a process behind the settings' back: CELERY_BROKER_URL, for one, names another broker."""

_PROVIDER_KEY = "WAVESPEED_API_KEY"


def spell_settings(settings: Settings) -> dict[str, str]:
    """Settings as the variables they are read from; the unset ones are left out."""
    spelled = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if value is not None:
            alias = field.validation_alias
            spelled[alias if isinstance(alias, str) else f"RUSHES_{name.upper()}"] = _spell(value)
    return spelled


def process_environment(settings: Settings, base: Mapping[str, str], *, with_key: bool = False) -> dict[str, str]:
    """The environment of a process: `base` without what is ours, and the settings. The key only goes where it is used.

    Flower's password goes nowhere: Flower gets it in its own way.
    """
    inherited = {name: value for name, value in base.items() if not name.startswith(_FOREIGN)}
    spelled = spell_settings(settings)
    spelled.pop("RUSHES_FLOWER_PASSWORD", None)
    if not with_key:
        spelled.pop(_PROVIDER_KEY, None)
    return inherited | {"PYTHONUNBUFFERED": "1"} | spelled


def default_settings(**changes: Any) -> Settings:
    """The defaults with some replaced, whatever the environment says."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings(**(defaults | changes))


def _spell(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case bool():
            return str(value).lower()
        case Path():
            return str(value.absolute())
        case Enum():
            return str(value.value)
        case _:
            return str(value)
