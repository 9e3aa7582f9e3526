"""The settings: what they are by default, what is refused by which name, and what is never shown."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr, ValidationError
from sqlalchemy.engine import make_url

from rushes.errors import InvalidInput
from rushes.settings import API_KEY_FILE, PROVIDER_URL, SERVICES_FILE, Settings, load_settings

SECRETS = {
    "WAVESPEED_API_KEY": "wsk-hush-1",
    "RUSHES_DATABASE_URL": "postgresql://user:hush-2@db.example/rushes",
    "RUSHES_DATABASE_DIRECT_URL": "postgresql://user:hush-3@db.example/rushes",
    "RUSHES_REDIS_URL": "redis://:hush-4@redis.example/0",
    "RUSHES_FLOWER_PASSWORD": "hush-5",
    "RUSHES_DATABASE_PASSWORD": "hush-6",
    "RUSHES_REDIS_PASSWORD": "hush-7",
    "RUSHES_API_HEADERS": "Authorization: hush-8",
    "RUSHES_API_KEY": "hush-9",
}
LIMITS = {
    "RUSHES_SLOTS": (1, 100_000),
    "RUSHES_SUBMITS_PER_MINUTE": (1, 1_000_000),
    "RUSHES_MAX_BATCH_JOBS": (1, None),
    "RUSHES_SUBMIT_THREADS": (0, 200),
    "RUSHES_WATCH_THREADS": (1, 200),
    "RUSHES_STORE_THREADS": (0, 64),
}
SECONDS = [
    "RUSHES_RENDER_MEDIAN_SECONDS",
    "RUSHES_POLL_SHORTEST_SECONDS",
    "RUSHES_POLL_COST_SECONDS",
    "RUSHES_WATCH_WINDOW_SECONDS",
    "RUSHES_SUBMIT_TIMEOUT_SECONDS",
    "RUSHES_REQUEST_TIMEOUT_SECONDS",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without a setting, in a folder without a stack."""
    for name in os.environ:
        if name.upper().startswith(("RUSHES_", "WAVESPEED_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def refusals_of(values: dict[str, str], environment: pytest.MonkeyPatch) -> dict[str, str]:
    """The message by variable that this environment is refused with."""
    for name, value in values.items():
        environment.setenv(name, value)
    with pytest.raises(InvalidInput) as refusal:
        load_settings()
    return {problem.field: problem.message for problem in refusal.value.problems}


def test_a_check_costs_more_with_webhooks_unless_its_price_is_set(environment: pytest.MonkeyPatch) -> None:
    alone = load_settings().find_poll_cost()
    environment.setenv("RUSHES_PUBLIC_URL", "https://rushes.example.com")
    assert load_settings().find_poll_cost() > alone
    environment.setenv("RUSHES_POLL_COST_SECONDS", "0.5")
    assert load_settings().find_poll_cost() == 0.5


def test_the_defaults_are_those_of_the_lowest_tier() -> None:
    settings = load_settings()
    assert (settings.slots, settings.submits_per_minute) == (2, 2)
    assert settings.watch_window == timedelta(minutes=10)
    assert settings.wavespeed_url == PROVIDER_URL == "https://api.wavespeed.ai"
    assert settings.url == "http://127.0.0.1:8000"
    assert settings.data_dir == Path(".rushes")
    assert settings.uses_simulator


def test_every_default_passes_its_own_check() -> None:
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    assert Settings(**defaults) == load_settings()


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_a_number_outside_its_limits_is_refused_by_name(name: str, environment: pytest.MonkeyPatch) -> None:
    lowest, highest = LIMITS[name]
    for wrong in (lowest - 1, *([highest + 1] if highest else []), "many", "2.5", "1e9"):
        assert list(refusals_of({name: str(wrong)}, environment)) == [name]
    environment.setenv(name, str(lowest))
    assert getattr(load_settings(), name.removeprefix("RUSHES_").lower()) == lowest


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("wrong", ["0", "-1", "soon", "inf", "nan", "1e300", "10m"])
def test_a_text_that_is_no_number_of_seconds_is_refused_by_name(
    name: str, wrong: str, environment: pytest.MonkeyPatch
) -> None:
    assert list(refusals_of({name: wrong}, environment)) == [name]


@pytest.mark.parametrize(
    ("name", "wrong", "schemes"),
    [
        ("RUSHES_DATABASE_URL", "mysql://db/rushes", "postgresql:// or postgres://"),
        ("RUSHES_DATABASE_URL", "db.example", "postgresql:// or postgres://"),
        ("RUSHES_DATABASE_URL", "postgresql://db:port/rushes", "postgresql:// or postgres://"),
        ("RUSHES_DATABASE_DIRECT_URL", "sqlite:///x", "postgresql:// or postgres://"),
        ("RUSHES_REDIS_URL", "http://redis", "redis:// or rediss://"),
        ("RUSHES_WAVESPEED_URL", "api.wavespeed.ai", "http:// or https://"),
        ("RUSHES_WAVESPEED_URL", "http://", "http:// or https://"),
        ("RUSHES_URL", "https:///v1", "http:// or https://"),
        ("RUSHES_URL", "http://127.0.0.1:80000", "http:// or https://"),
        ("RUSHES_URL", "http://[::1", "http:// or https://"),
        ("RUSHES_PUBLIC_URL", "rushes.example", "http:// or https://"),
        ("RUSHES_API_BASE", "rushes.example", "http:// or https://"),
        ("RUSHES_ARTIFACTS_URL", "/srv/videos", "file://"),
        ("RUSHES_ARTIFACTS_URL", "s3://videos", "file://"),
    ],
)
def test_a_wrong_url_is_refused_by_name(name: str, wrong: str, schemes: str, environment: pytest.MonkeyPatch) -> None:
    refusals = refusals_of({name: wrong}, environment)
    assert list(refusals) == [name]
    assert refusals[name].startswith(f"must be a URL that starts with {schemes}")


HARD = "/ @#?[]%:&+\"'\\$é"


@pytest.mark.parametrize(
    ("scheme", "given"),
    [("postgresql", "postgresql://rushes@[::1]:5432/rushes"), ("redis", "redis://:overridden@127.0.0.1:6379/0")],
)
def test_a_password_of_its_own_may_hold_any_character(scheme: str, given: str, environment: pytest.MonkeyPatch) -> None:
    name = "DATABASE" if scheme == "postgresql" else "REDIS"
    environment.setenv(f"RUSHES_{name}_URL", given)
    environment.setenv(f"RUSHES_{name}_PASSWORD", HARD)
    settings = load_settings(running_stack=False)
    if scheme == "postgresql":
        read = make_url(settings.get_database_url())
        assert (read.username, read.password, read.host, read.database) == ("rushes", HARD, "::1", "rushes")
        assert settings.get_listen_url() == settings.get_database_url()
    else:
        pool = redis.ConnectionPool.from_url(settings.get_redis_url())
        assert (pool.connection_kwargs["password"], pool.connection_kwargs["port"]) == (HARD, 6379)


@pytest.mark.parametrize("password", ["hush/", "hush#1", "1#hush", "hush?", "[hush", "hush]"])
def test_a_password_that_is_not_encoded_is_explained_but_not_shown(
    password: str, environment: pytest.MonkeyPatch
) -> None:
    message = refusals_of({"RUSHES_DATABASE_URL": f"postgresql://rushes:{password}@db/rushes"}, environment)
    assert "%2F for /" in message["RUSHES_DATABASE_URL"]
    assert "RUSHES_DATABASE_PASSWORD" in message["RUSHES_DATABASE_URL"]
    assert "hush" not in str(message)


def test_headers_for_the_api_are_one_per_line(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RUSHES_API_HEADERS", "Authorization: Bearer a:b\nX-Team:  films")
    assert load_settings(running_stack=False).get_api_headers() == {"Authorization": "Bearer a:b", "X-Team": "films"}


@pytest.mark.parametrize("wrong", ["Authorization", "Authorization:", "a b: hush", "X: h\x01ush", ": hush"])
def test_a_wrong_header_is_refused_unseen(wrong: str, environment: pytest.MonkeyPatch) -> None:
    assert refusals_of({"RUSHES_API_HEADERS": wrong}, environment) == {
        "RUSHES_API_HEADERS": "must be one `Name: value` per line"
    }


@pytest.mark.parametrize("content", [None, b"", b"nothing of that kind"])
def test_a_file_without_certificates_is_refused(
    content: bytes | None, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    assert refusals_of({"RUSHES_CA_FILE": str(file)}, environment) == {
        "RUSHES_CA_FILE": "must be a readable file of certificates in PEM format"
    }


def test_a_comma_in_the_password_of_flower_is_refused(environment: pytest.MonkeyPatch) -> None:
    assert list(refusals_of({"RUSHES_FLOWER_PASSWORD": "a,b"}, environment)) == ["RUSHES_FLOWER_PASSWORD"]


@pytest.mark.parametrize("spelled", ["ops/flower", "/ops/flower", "/ops/flower/"])
def test_slashes_around_the_prefix_of_flower_do_not_matter(spelled: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RUSHES_FLOWER_URL_PREFIX", spelled)
    assert load_settings(running_stack=False).flower_url_prefix == "ops/flower"


@pytest.mark.parametrize("wrong", ["/a b", "https://h/flower", "/flower?x", "//flower"])
def test_a_prefix_of_flower_that_is_no_path_is_refused(wrong: str, environment: pytest.MonkeyPatch) -> None:
    assert list(refusals_of({"RUSHES_FLOWER_URL_PREFIX": wrong}, environment)) == ["RUSHES_FLOWER_URL_PREFIX"]


@pytest.mark.parametrize("wrong", ["proxy.example", "10.0.0.0/33", "10.0.0.7, *", "10.0.0.7/8"])
def test_a_trusted_proxy_is_an_address_or_a_network(wrong: str, environment: pytest.MonkeyPatch) -> None:
    assert set(refusals_of({"RUSHES_TRUSTED_PROXIES": wrong}, environment)) == {"RUSHES_TRUSTED_PROXIES"}


@pytest.mark.parametrize("wrong", ["https://u@h", "https://u:hush@h", "https://h/?a=b", "https://h/#a"])
def test_a_public_url_holds_nothing_but_a_place(wrong: str, environment: pytest.MonkeyPatch) -> None:
    refusals = refusals_of({"RUSHES_PUBLIC_URL": wrong}, environment)
    assert refusals == {"RUSHES_PUBLIC_URL": "must not hold a user, password, query or fragment: others see it"}


def test_every_wrong_variable_is_named_at_once(environment: pytest.MonkeyPatch) -> None:
    wrong = {"RUSHES_SLOTS": "0", "RUSHES_REDIS_URL": "x", "RUSHES_LOG_JSON": "maybe", "WAVESPEED_API_KEY": "a b"}
    assert set(refusals_of(wrong, environment)) == set(wrong)


@pytest.mark.parametrize("key", ["wsk-hush\n", "wsk hush", "schlüssel-hush"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str, environment: pytest.MonkeyPatch) -> None:
    refusals = refusals_of({"WAVESPEED_API_KEY": key}, environment)
    assert refusals == {"WAVESPEED_API_KEY": "must be printable ASCII without spaces"}


@pytest.mark.parametrize("wrong", ["mysql://user:hush@db", "postgresql://user:hush℀@db", "postgresql://u:hush@db:x"])
def test_a_refusal_shows_no_secret(wrong: str, environment: pytest.MonkeyPatch) -> None:
    assert "hush" not in str(refusals_of({"RUSHES_DATABASE_URL": wrong}, environment))
    with pytest.raises(ValidationError) as inner:
        Settings()
    assert "hush" not in str(inner.value)


def test_a_watchdog_may_be_off_but_not_before_time(environment: pytest.MonkeyPatch) -> None:
    assert load_settings().watchdog_seconds == 60
    environment.setenv("RUSHES_WATCHDOG_SECONDS", "0")
    assert load_settings().watchdog_seconds == 0
    assert list(refusals_of({"RUSHES_WATCHDOG_SECONDS": "-1"}, environment)) == ["RUSHES_WATCHDOG_SECONDS"]


def test_settings_are_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.slots = 3  # type: ignore[misc]


def test_a_secret_is_never_shown(environment: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        environment.setenv(name, value)
    settings = load_settings()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"):
        assert "hush" not in shown
    for name in ("RUSHES_DATABASE_PASSWORD", "RUSHES_REDIS_PASSWORD"):
        environment.delenv(name)
    settings = load_settings()
    assert settings.get_database_url() == SECRETS["RUSHES_DATABASE_URL"]
    assert settings.get_listen_url() == SECRETS["RUSHES_DATABASE_DIRECT_URL"]
    assert settings.get_redis_url() == SECRETS["RUSHES_REDIS_URL"]


def test_every_secret_setting_is_held_as_one() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret == {name.removeprefix("RUSHES_").lower() for name in SECRETS}


def test_a_stack_in_the_data_folder_ranks_below_the_environment(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    services = "RUSHES_DATABASE_URL=postgresql://stack/db\nRUSHES_REDIS_URL=redis://stack\nRUSHES_SLOTS=5\n"
    (folder / SERVICES_FILE).write_text(services)
    environment.setenv("RUSHES_DATA_DIR", str(folder))
    environment.setenv("RUSHES_REDIS_URL", "redis://ours")
    settings = load_settings()
    assert settings.get_database_url() == "postgresql://stack/db"
    assert settings.get_redis_url() == "redis://ours"
    assert settings.slots == 5
    assert load_settings(running_stack=False).database_url is None


def test_the_running_stack_is_searched_for_in_the_default_data_folder(tmp_path: Path) -> None:
    (tmp_path / ".rushes").mkdir()
    (tmp_path / ".rushes" / SERVICES_FILE).write_text("RUSHES_DATABASE_URL=postgresql://stack/db\n")
    assert load_settings().get_database_url() == "postgresql://stack/db"


def test_a_broken_file_of_services_is_refused_by_variable(tmp_path: Path) -> None:
    (tmp_path / ".rushes").mkdir()
    (tmp_path / ".rushes" / SERVICES_FILE).write_text("RUSHES_DATABASE_URL=nonsense\n")
    with pytest.raises(InvalidInput, match="RUSHES_DATABASE_URL"):
        load_settings()


@pytest.mark.parametrize("name", ["RUSHES_SLOTS", "RUSHES_DATABASE_URL", "WAVESPEED_API_KEY", "RUSHES_DATA_DIR"])
def test_an_empty_variable_is_an_unset_one(name: str, environment: pytest.MonkeyPatch) -> None:
    unset = load_settings()
    environment.setenv(name, "")
    assert load_settings() == unset


@pytest.mark.parametrize(
    ("read", "variable"),
    [(Settings.get_database_url, "RUSHES_DATABASE_URL"), (Settings.get_redis_url, "RUSHES_REDIS_URL")],
)
def test_an_address_that_nobody_gave_is_named(read: object, variable: str) -> None:
    with pytest.raises(InvalidInput, match=f"{variable}: is not set, and no stack"):
        read(load_settings())  # type: ignore[operator]


def test_the_listener_uses_the_database_url_without_a_direct_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("RUSHES_DATABASE_URL", "postgresql://db/rushes")
    assert load_settings().get_listen_url() == "postgresql://db/rushes"


def test_a_key_means_the_real_provider(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("WAVESPEED_API_KEY", "wsk-1")
    assert not load_settings().uses_simulator


def test_videos_go_to_the_data_folder_unless_set_otherwise(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load_settings().get_artifacts_url() == (tmp_path / ".rushes" / "artifacts").as_uri()
    environment.setenv("RUSHES_ARTIFACTS_URL", "file:///srv/videos")
    assert load_settings().get_artifacts_url() == "file:///srv/videos"


def test_changes_go_before_the_environment_and_are_checked(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    environment.setenv("RUSHES_SLOTS", "9")
    environment.setenv("WAVESPEED_API_KEY", "of-the-environment")
    changed = settings.with_changes(wavespeed_api_key="wsk-2", url="http://127.0.0.1:9000")
    assert changed.wavespeed_api_key == SecretStr("wsk-2")
    assert (changed.slots, changed.url) == (2, "http://127.0.0.1:9000")
    assert settings.with_changes(submit_threads=0).wavespeed_api_key is None
    with pytest.raises(InvalidInput, match="RUSHES_SLOTS") as refusal:
        settings.with_changes(slots=0, database_url="mysql://user:hush@db")
    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize(("rate", "threads"), [(2, 4), (240, 4), (241, 5), (6_000, 50), (600_000, 50)])
def test_submit_threads_follow_the_rate(rate: int, threads: int) -> None:
    settings = load_settings().with_changes(submits_per_minute=rate)
    assert settings.count_submit_threads() == threads
    assert settings.with_changes(submit_threads=7).count_submit_threads() == 7


def test_a_submission_is_unconfirmed_only_after_its_post_has_timed_out() -> None:
    settings = load_settings()
    assert settings.submit_lease > timedelta(seconds=settings.submit_timeout_seconds)


@pytest.mark.parametrize(
    ("url", "is_sent"),
    [
        (None, True),
        ("http://localhost:81", True),
        ("http://127.0.0.2", True),
        ("http://[::1]:8000", True),
        ("http://10.0.0.5:8000", True),
        ("http://10.0.0.5:8001", False),
        ("https://127.0.0.1.example.com", False),
        ("https://localhost.example.com", False),
        ("http://localhost@example.com", False),
    ],
)
def test_the_key_in_a_file_goes_only_to_its_own_api(
    url: str | None, is_sent: bool, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".rushes").mkdir()
    (tmp_path / ".rushes" / API_KEY_FILE).write_text("rsh_live_file\n")
    (tmp_path / ".rushes" / SERVICES_FILE).write_text("RUSHES_URL='http://10.0.0.5:8000'\n")
    if url is not None:
        environment.setenv("RUSHES_URL", url)
    assert load_settings().find_api_key() == ("rsh_live_file" if is_sent else None)
    environment.setenv("RUSHES_API_KEY", "rsh_live_given")
    assert load_settings().find_api_key() == "rsh_live_given"
