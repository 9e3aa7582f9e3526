"""The settings, and the only reader of the environment."""

import math
import os
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from dotenv import dotenv_values
from pydantic import AfterValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from rushes.errors import InvalidInput, Problem
from rushes.network import AllowedPlaces, check_networks, is_loopback, trust_authorities

SERVICES_FILE = "services.env"
"""`rushes up` writes the addresses of its servers to this file in the data folder. The environment overrides it."""

API_KEY_FILE = "api.key"
"""`rushes up` keeps a key of its API in this file in the data folder."""

PROVIDER_URL = "https://api.wavespeed.ai"

POLL_COST_SECONDS, HOOKED_POLL_COST_SECONDS = 0.11, 0.2
"""The default price of a request, in seconds of delay: without webhooks, and in addition to them."""
IDLE_PRICE_SHARE, IDLE_REQUESTS_PER_SECOND = 0.25, 8.0
"""While jobs wait and none is overcommitted, a second of delay also leaves a slot idle. A request then costs this share
of its price, and the budget is at least this many requests per second, unless it is set."""

MOST_STORE_THREADS = 64

_WEB = ("http", "https")


_ENCODED = (
    "; in its password, write %2F for /, %40 for @, %23 for #, %3F for ?, %25 for %, %5B for [ and %5D for ], or give "
    "the plain password in RUSHES_DATABASE_PASSWORD or RUSHES_REDIS_PASSWORD"
)


def _url_with(*schemes: str) -> AfterValidator:
    def check(value: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        try:
            parts = urlsplit(text)
            usable = parts.scheme in schemes and (parts.scheme not in _WEB or bool(parts.hostname))
            _ = parts.port
        except ValueError:  # its text may quote a password
            usable = False
        if not usable or "@" in parts.path + parts.fragment:
            wanted = f"must be a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            raise ValueError(wanted + (_ENCODED if isinstance(value, SecretStr) else ""))
        return value

    return AfterValidator(check)


def _check_bare(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must not hold a user, password, query or fragment: others see it")
    return url


def _check_key(key: SecretStr) -> SecretStr:
    if not all("!" <= char <= "~" for char in key.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces")
    return key


def _check_authorities(file: Path) -> Path:
    try:
        trust_authorities(file)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError("must be a readable file of certificates in PEM format") from error
    return file


def _check_flower(password: SecretStr) -> SecretStr:
    if "," in password.get_secret_value():
        raise ValueError("must not hold a comma: Flower would read the rest as another user's login")
    return password


def _check_prefix(prefix: str) -> str:
    if not re.fullmatch(r"/?([\w.~-]+/?)*", prefix, re.ASCII):
        raise ValueError("must be a path of letters, digits and . _ ~ - such as /flower")
    return prefix.strip("/")


def _check_headers(lines: SecretStr) -> SecretStr:
    if not all(_HEADER.fullmatch(line) for line in lines.get_secret_value().splitlines()):
        raise ValueError("must be one `Name: value` per line")
    return lines


_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x21-\x7e][\x20-\x7e]*")

PostgresUrl = Annotated[SecretStr, _url_with("postgresql", "postgres", "postgresql+psycopg")]
RedisUrl = Annotated[SecretStr, _url_with("redis", "rediss", "unix", "redis+socket")]
WebUrl = Annotated[str, _url_with(*_WEB)]
BareUrl = Annotated[WebUrl, AfterValidator(_check_bare)]
ApiKey = Annotated[SecretStr, AfterValidator(_check_key)]
Seconds = Annotated[float, Field(gt=0, le=timedelta(days=7).total_seconds())]


class Settings(BaseSettings):
    """All settings, one variable each. Frozen, and checked at start."""

    model_config = SettingsConfigDict(
        env_prefix="RUSHES_",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # it may be a password
    )

    wavespeed_api_key: ApiKey | None = Field(default=None, validation_alias="WAVESPEED_API_KEY")
    wavespeed_url: BareUrl = PROVIDER_URL
    ca_file: Annotated[Path, AfterValidator(_check_authorities)] | None = None
    database_url: PostgresUrl | None = None
    database_direct_url: PostgresUrl | None = None
    database_password: SecretStr | None = None
    database_operator: str | None = None
    redis_url: RedisUrl | None = None
    redis_password: SecretStr | None = None
    database_connections: int = Field(default=4, ge=2, le=1_000)
    data_dir: Path = Path(".rushes")
    artifacts_url: Annotated[str, _url_with("file")] | None = None
    disk_reserve: ByteSize = Field(default="1GB", validate_default=True, ge=0)
    url: WebUrl = "http://127.0.0.1:8000"
    api_key: ApiKey | None = None
    api_headers: Annotated[SecretStr, AfterValidator(_check_headers)] = SecretStr("")
    public_url: BareUrl | None = None
    api_base: BareUrl | None = None
    trusted_proxies: Annotated[str, AfterValidator(check_networks)] = ""
    webhooks_trusted: Literal["auto", "never"] = "auto"
    url_allow: Annotated[str, AfterValidator(lambda text: AllowedPlaces.parse(text) and text)] = ""

    slots: int = Field(default=2, ge=1, le=100_000)
    submits_per_minute: int = Field(default=2, ge=1, le=1_000_000)
    restore_epoch: int = Field(default=0, ge=0, le=2**31)
    overcommit: Literal["auto"] | Annotated[int, Field(ge=0, le=100_000)] = "auto"
    max_spend_per_day: Decimal | None = Field(default=None, ge=0, le=10_000_000)
    confirm_above: float = Field(default=50, ge=0)
    max_batch_jobs: int = Field(default=100_000, ge=1)
    max_push_size: ByteSize = Field(default="64MB", validate_default=True, ge=1_000_000)

    render_median_seconds: Seconds = 100
    poll_shortest_seconds: Seconds = 5
    poll_cost_seconds: Seconds | None = None
    watch_requests_per_second: float | None = Field(default=None, gt=0, le=10_000)
    watch_window_seconds: Seconds = 600

    submit_timeout_seconds: Seconds = 60
    request_timeout_seconds: Seconds = 30
    upload_timeout_seconds: Seconds = 120
    freeze_allowance_seconds: Seconds = 30
    list_lag_seconds: Seconds = 60
    submit_threads: int = Field(default=0, ge=0, le=200)
    watch_threads: int = Field(default=8, ge=1, le=200)
    store_threads: int = Field(default=0, ge=0, le=MOST_STORE_THREADS)
    deliver_threads: int = Field(default=32, ge=2, le=200)
    callback_time_scale: float = Field(default=1, gt=0, le=1)
    watchdog_seconds: float = Field(default=60, ge=0, le=timedelta(days=7).total_seconds())

    keep_days: int | None = Field(default=None, ge=8, le=36_500)
    keep_files_days: int | None = Field(default=None, ge=1, le=36_500)

    flower_user: str = "operator"
    flower_password: Annotated[SecretStr, AfterValidator(_check_flower)] | None = None
    flower_url_prefix: Annotated[str, AfterValidator(_check_prefix)] = ""
    flower_prompts: bool = False
    log_json: bool = False

    @property
    def uses_simulator(self) -> bool:
        """Without a key, only the simulator can answer."""
        return self.wavespeed_api_key is None

    @property
    def watch_window(self) -> timedelta:
        return timedelta(seconds=self.watch_window_seconds)

    @property
    def submit_lease(self) -> timedelta:
        """The longest that a POST may take, including a frozen process. After that its outcome is unknown."""
        return timedelta(seconds=self.submit_timeout_seconds + self.freeze_allowance_seconds)

    @property
    def upload_lease(self) -> timedelta:
        """The longest that sending a file to the provider may take, including a frozen process."""
        seconds = self.request_timeout_seconds + self.upload_timeout_seconds + self.freeze_allowance_seconds
        return timedelta(seconds=seconds)

    def count_watch_requests_per_second(self, *, delay_idles: bool = False) -> float:
        """Return the check requests per second: 1 per 100 slots and at least 2, unless set.

        `delay_idles` says that a slot is idle until its render is known to have ended.
        """
        least = IDLE_REQUESTS_PER_SECOND if delay_idles else 2.0
        return self.watch_requests_per_second or max(least, self.slots / 100)

    def find_poll_cost(self, *, delay_idles: bool = False) -> float:
        """Return the seconds of delay that a request is worth, unless set. Higher with webhooks: checks find less."""
        cost = self.poll_cost_seconds or (POLL_COST_SECONDS if self.public_url is None else HOOKED_POLL_COST_SECONDS)
        return cost * IDLE_PRICE_SHARE if delay_idles else cost

    def count_submit_threads(self) -> int:
        """Return the number of submit threads: the submit rate times one second of latency, unless set."""
        return self.submit_threads or min(50, max(4, math.ceil(self.submits_per_minute / 60)))

    def count_store_threads(self) -> int:
        """Return the number of store threads. All of them exist if the dispatcher chooses how many it uses."""
        return self.store_threads or MOST_STORE_THREADS

    def get_database_url(self) -> str:
        """Return the URL of Postgres. Raises `InvalidInput` if it is not set and no stack of ours runs."""
        return _get_url(self.database_url, self.database_password, "RUSHES_DATABASE_URL")

    def get_listen_url(self) -> str:
        """Return a URL that supports LISTEN: the direct one if a transaction pooler is in front of the database."""
        direct = self.database_direct_url or self.database_url
        return _get_url(direct, self.database_password, "RUSHES_DATABASE_URL")

    def get_redis_url(self) -> str:
        """Return the URL of Redis. Raises `InvalidInput` under the same conditions."""
        return _get_url(self.redis_url, self.redis_password, "RUSHES_REDIS_URL")

    def get_artifacts_url(self) -> str:
        """Return the URL of the video store: `artifacts/` in the data folder, unless set."""
        return self.artifacts_url or (self.data_dir.absolute() / "artifacts").as_uri()

    def get_artifacts_folder(self) -> Path:
        """Return the folder of the video store. A batch of the tenant `default` has a folder with its name."""
        return Path(url2pathname(urlsplit(self.get_artifacts_url()).path))

    def find_api_key(self) -> str | None:
        """Return the key for requests to the API: `RUSHES_API_KEY`, else the one of `rushes up`, only for its API."""
        if self.api_key is not None:
            return self.api_key.get_secret_value()
        if not is_loopback(self.url) and self.url != dotenv_values(self.data_dir / SERVICES_FILE).get("RUSHES_URL"):
            return None
        try:
            return (self.data_dir / API_KEY_FILE).read_text().strip() or None
        except OSError:
            return None

    def get_api_headers(self) -> dict[str, str]:
        """Return the headers that the command line adds to each request to the API."""
        pairs = (line.split(":", 1) for line in self.api_headers.get_secret_value().splitlines())
        return {name: value.strip() for name, value in pairs}

    def with_changes(self, **changes: Any) -> Self:
        """Return a checked copy with some settings replaced. Raises `InvalidInput` that names the variables."""
        try:
            return type(self)(**{**self.model_dump(), **changes})
        except ValidationError as error:
            raise _as_invalid_input(error) from None


def _get_url(url: SecretStr | None, password: SecretStr | None, variable: str) -> str:
    if url is None:
        raise InvalidInput(
            [Problem(variable, "is not set, and no stack started by `rushes up` runs in this data folder")]
        )
    text = url.get_secret_value()
    if password is None:
        return text
    parts = urlsplit(text)
    login, _, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return parts._replace(netloc=f"{user}:{quote(password.get_secret_value(), safe='')}@{place}").geturl()


def load_settings(*, running_stack: bool = True) -> Settings:
    """Read the environment and, with `running_stack`, the addresses of the stack that runs in the data folder.

    Raises `InvalidInput` that names the variables.
    """
    services = Path(os.environ.get("RUSHES_DATA_DIR") or ".rushes") / SERVICES_FILE
    try:
        return Settings(_env_file=services if running_stack else None)
    except ValidationError as error:
        raise _as_invalid_input(error) from None


def _as_invalid_input(error: ValidationError) -> InvalidInput:
    return InvalidInput([_as_problem(detail["loc"], detail["msg"]) for detail in error.errors()])


def _as_problem(location: tuple[int | str, ...], message: str) -> Problem:
    name = str(location[0]) if location else ""
    variable = name if name.isupper() else f"RUSHES_{name.upper()}"
    return Problem(variable, message.removeprefix("Value error, "))
