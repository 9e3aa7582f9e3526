"""The API against generated requests: no 5xx, and no answer that the OpenAPI document does not describe.

`make test` sends the same few requests per operation in every run. `make fuzz` sends many, and new ones each time.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api import examples
from api.feed import routes
from api.schemas.events import FeedAsked
from models.db.session import transaction
from rushes.runtime import ACCOUNT
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.access import KEY, bearing
from tests.support.api_server import Api, new_job, serve_api
from tests.support.servers import cloned_database

BRIEF = (
    "--phases=examples,fuzzing,stateful --max-examples=4 --generation-deterministic "
    # The document cannot say everything: which input a job takes depends on its video model.
    "--exclude-checks=positive_data_acceptance "
    # An answer without an end: test_event_streams.py.
    "--exclude-path=/v1/events/stream"
)
ROOT = Path(__file__).resolve().parents[3]
OPTIONS = os.environ.get("FUZZ_OPTIONS", BRIEF).split()
"""`make fuzz` sets others."""


@pytest.fixture(scope="module", autouse=True)
def _waits_are_short() -> Iterator[None]:
    """Of the long polls, which may take 30 s each."""
    wait = routes._wait

    def wait_briefly(*given: Any, asked: FeedAsked, **others: Any) -> Any:
        return wait(*given, asked=asked.model_copy(update={"wait": min(asked.wait, 0.1)}), **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routes, "_wait", wait_briefly)
        yield


@pytest.fixture(scope="module")
def api(postgres: EmbeddedPostgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("api")
    with cloned_database(postgres, template=migrated_template) as url, serve_api(url, folder, max_batch_jobs=3) as api:
        yield api


@pytest.fixture(autouse=True)
def _examples_exist(api: Api) -> None:
    """The ids in the document's examples belong to something."""
    with transaction(api.sessions) as session:
        if not rows.count(session, "account"):
            account = rows.add_account(session, name=ACCOUNT)
            job = rows.add_job(session, "failed", id=examples.JOB_ID)
            rows.add_prediction(session, job, account, "failed", id=examples.PREDICTION_ID)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("headers", [bearing(KEY), {}], ids=["key", "no key"])
def test_generated_requests_get_documented_answers(api: Api, headers: dict[str, str], tmp_path: Path) -> None:
    api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job()] * 3, "on_repeat": "same_name"})
    sent = [f"--header={name}: {value}" for name, value in headers.items()]
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{api.client.base_url}/openapi.json"]
    ran = subprocess.run(
        [*command, *OPTIONS, "--warnings=off", "--max-redirects=0", *sent],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.fuzz_hooks", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
