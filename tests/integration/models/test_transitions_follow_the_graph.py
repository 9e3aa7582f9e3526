"""Every move from every state: it is in the graph and appends its event, or nothing has moved.

What is called with what is read from the signatures, so that a new move cannot be forgotten here.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, ArtifactKind, JobState, PredictionState
from models.lifecycle import JOB_MOVES, LIVE, PREDICTION_MOVES, Reason
from models.tables.base import new_id
from models.transitions.admission import ClaimedSubmit
from models.transitions.jobs import NewBatch, NewJob
from models.transitions.retries import NewInput
from models.transitions.storing.claims import ClaimedStore
from models.transitions.storing.steps import NewArtifact
from models.transitions.uploads import NewUpload
from sandbox.servers import EmbeddedPostgres
from tests.support import rows
from tests.support.moves import list_moves
from tests.support.rows import NOW, OUTPUT, SECOND, SHA256, VIDEO_MODEL, open_session
from tests.support.servers import create_database, url_of

Move = tuple[str, str | None, str]

HOUR = timedelta(hours=1)  # longer than these tests take
CLAIM = 5

NO_OUTCOMES = {PredictionState.COMPLETED, PredictionState.UNCONFIRMED}
OUTCOMES = sorted(PREDICTION_MOVES[PredictionState.RENDERING] - NO_OUTCOMES)
ARGUMENTS: dict[str, Any] = {
    "artifacts": [NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 1, SHA256)],
    "batch_id": new_id(),
    "by": "somebody",
    "claimed": [],
    "code": "foreign_list",
    "count": 1_000,
    "client_ref": "TEST-1",
    "delay": timedelta(seconds=1),
    "detail": "some words",
    "digest": SHA256,
    "elapsed": 1.0,
    "epoch": 1,
    "error": "some words",
    "fails_job": True,
    "failure": "some words",
    "files": [NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 1, SHA256)],
    "file": NewArtifact(ArtifactKind.UNVERIFIED, "file:///a.unverified", 1, SHA256, source="https://a/b", message="no"),
    "forecast": {"chance": 0.5},
    "held_at": datetime.now(UTC),
    "holder": "worker-1",
    "jobs": [NewJob(VIDEO_MODEL, {"prompt": "x"}, 1, 0, 3)],  # type: ignore[arg-type]
    "kind": "step.outcome",
    "lease": timedelta(seconds=30),
    "marker": "a-marker",
    "message": "some words",
    "name": "some-name",
    "names": [SHA256],
    "new_input": NewInput({"prompt": "y"}, 1, {}, {"prompt": "x"}),  # type: ignore[arg-type]
    "new_uploads": [NewUpload(SHA256, "image/png", b"x")],
    "retry_in": timedelta(seconds=5),
    "sha256": SHA256,
    "url": "https://provider.example/a.png",
    "usable": timedelta(days=6),
    "uses": {},
    "new_batch": NewBatch(DEFAULT_TENANT, "pilot"),
    "new": NewJob(VIDEO_MODEL, {"prompt": "x"}, 1, 0, 3),  # type: ignore[arg-type]
    "unknown_predictions": [],
    "older_than": timedelta(days=8),
    "outputs": [OUTPUT],
    "pause": timedelta(seconds=2),
    "posted_at": None,
    "price": 0.5,
    "budget": 5.0,
    "requests": 1,
    "priority": 7,
    "probe_after": timedelta(seconds=2),
    "provider_created_at": None,
    "provider_id": "a-new-id",
    "queues": ["submit"],
    "quiet_for": timedelta(0),
    "prediction_ids": [],
    "overcommit": 2,
    "reason": Reason("a_code", "some words"),
    "seconds": 2.5,
    "restore_epoch": 1,
    "resubmit_after": timedelta(seconds=5),
    "shown": ["a-stranger-s"],
    "slots": 2,
    "state": PredictionState.FAILED,
    "submits_per_minute": 2,
    "tenant_id": DEFAULT_TENANT,
    "threads": 4,
    "unlike": 0.05,
    "outcome": PredictionState.COMPLETED,
    "watch_window": timedelta(minutes=10),
    "why": "some words",
}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "end_prediction": {
        **{state.value: {"state": state} for state in OUTCOMES},
        "for good": {"state": PredictionState.FAILED, "resubmit_after": None},
    },
    "refuse_upload": {"for now": {"retry_in": timedelta(seconds=5)}, "for good": {"retry_in": None}},
    "refuse_submit": {"the job's fault": {"fails_job": True}, "the account's fault": {"fails_job": False}},
}
FUNCTIONS = {
    name: function for name, function in list_moves().items() if "session" in inspect.signature(function).parameters
}
FENCED = {
    name for name, function in FUNCTIONS.items() if {"claim", "claimed"} & set(inspect.signature(function).parameters)
}
STATE_KINDS = {f"job.{state}" for state in JobState} | {f"prediction.{state}" for state in PredictionState}
NOT_YET_MADE = {
    ("job", "queued", "failed"),  # nothing fails a job that waits, so far
    ("job", "queued", "succeeded"),  # takes a stored duplicate purchase: test_duplicates.py
    ("job", "rendering", "succeeded"),  # the same
    ("prediction", "rendering", "unconfirmed"),  # takes two predictions: test_transitions_reconciling.py
}


@dataclass(frozen=True)
class World:
    """A job, the prediction that it has (or has not), and what they look like."""

    job_state: JobState
    prediction_state: PredictionState | None = None
    posted: bool = False
    overdue: bool = False
    cancel_requested: bool = False
    stored: bool = False
    timed_out: bool = False
    begun: bool = False
    kept_no_longer: bool = False
    unverified: bool = False
    download_failed: bool = False
    ids: dict[str, UUID] = field(default_factory=dict, compare=False, repr=False)

    def build(self, session: Session) -> None:
        """Put its rows into the database."""
        due = -SECOND if self.overdue else HOUR
        self.ids["account_id"] = account = rows.add_account(session)
        self.ids["job_id"] = job = rows.add_job(
            session,
            self.job_state,
            cancel_requested_at=NOW if self.cancel_requested else None,
            due_at=due if self.job_state == JobState.QUEUED else None,
        )
        self.ids["prediction_id"] = prediction = new_id()
        if self.prediction_state is None:
            return
        columns: dict[str, Any] = {"id": prediction, "claim": CLAIM, "not_before": HOUR}
        if self.prediction_state in LIVE:
            columns |= {"due_at": due, "posted_at": -SECOND if self.posted else None}
        if self.job_state == JobState.STORING:
            columns |= {"due_at": due, "begun_at": -SECOND if self.begun else None}
            columns["output_failed_at"] = -SECOND if self.download_failed else None
        columns["watch_windows"] = int(self.timed_out)
        if self.kept_no_longer:
            columns["accepted_at"] = -timedelta(days=8)
            if self.prediction_state not in LIVE:
                columns["ended_at"] = -timedelta(days=8)
        rows.add_prediction(session, job, account, self.prediction_state, **columns)
        if self.stored:
            rows.add_artifact(session, job, prediction)
        if self.unverified:
            rows.add_artifact(session, job, prediction, kind="unverified")

    def call(self, session: Session, name: str, *, claim_off_by: int = 0, **changes: Any) -> Any:
        """Call a move on these rows, whatever it wants to know."""
        signature = inspect.signature(FUNCTIONS[name]).parameters
        claim = CLAIM + claim_off_by
        submit = ClaimedSubmit(self.ids["prediction_id"], self.ids["job_id"], claim)
        store = ClaimedStore(self.ids["prediction_id"], self.ids["job_id"], claim)
        known = ARGUMENTS | self.ids
        known["claim"] = claim
        known["ids"] = known["prediction_ids"] = [self.ids["prediction_id"]]
        known["job_ids"] = [self.ids["job_id"]]
        known["delays"] = {self.ids["prediction_id"]: timedelta(seconds=1)}
        known["claimed"] = [submit if "submits" in name else store]
        known |= changes
        wanted = [
            each for each, parameter in signature.items() if each in known or parameter.default is parameter.empty
        ]
        return FUNCTIONS[name](session, **{each: known[each] for each in wanted if each != "session"})


def list_worlds() -> Iterator[World]:
    """Everything that a job and its one prediction can look like."""
    for state in (JobState.QUEUED, JobState.FAILED, JobState.CANCELLED):
        yield World(state)
        yield World(state, overdue=True)
        for ended in sorted(frozenset(PredictionState) - LIVE):
            yield World(state, ended, posted=True)
    for overdue in (False, True):
        for cancel_requested in (False, True):
            flags: Any = {"overdue": overdue, "cancel_requested": cancel_requested}
            yield World(JobState.RENDERING, PredictionState.SUBMITTING, **flags)
            for live in sorted(LIVE):
                yield World(JobState.RENDERING, live, posted=True, **flags)
            yield World(JobState.RENDERING, PredictionState.RENDERING, posted=True, timed_out=True, **flags)
            yield World(JobState.STORING, PredictionState.COMPLETED, **flags)
            yield World(JobState.STORING, PredictionState.COMPLETED, begun=True, **flags)
            yield World(JobState.RENDERING, PredictionState.RENDERING, posted=True, kept_no_longer=True, **flags)
        for cancel_requested in (False, True):
            expired: Any = {"kept_no_longer": True, "download_failed": True, "cancel_requested": cancel_requested}
            yield World(JobState.STORING, PredictionState.COMPLETED, overdue=overdue, **expired)
    for state in (JobState.FAILED, JobState.CANCELLED):
        yield World(state, PredictionState.COMPLETED, unverified=True)
    yield World(JobState.SUCCEEDED, PredictionState.COMPLETED, stored=True)
    yield World(JobState.CANCELLED, PredictionState.COMPLETED, stored=True)


WORLDS = tuple(list_worlds())


@pytest.fixture(scope="module")
def worlds_database(postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """The name of a database that holds every world; its tests take back what they change."""
    postgres.start()
    name = create_database(postgres, template=migrated_template)
    with open_session(url_of(postgres, name)) as session:
        for world in WORLDS:
            world.build(session)
        session.commit()
    return name


@pytest.fixture
def session(postgres: EmbeddedPostgres, worlds_database: str) -> Iterator[Session]:
    postgres.start()
    with open_session(url_of(postgres, worlds_database)) as session:
        yield session


def is_allowed(move: Move) -> bool:
    """Whether the graph has this move; a job is born as `queued`, a prediction as `submitting`, a duplicate purchase as
    `rendering`."""
    table, before, after = move
    if before is None:
        return after in {"prediction": {"submitting", "rendering"}, "job": {"queued"}}[table]
    if table == "job":
        return after in JOB_MOVES[JobState(before)]
    return after in PREDICTION_MOVES[PredictionState(before)]


def kind_of(move: Move, name: str) -> str:
    """The event that tells of this move."""
    match move:
        case ("prediction", None | "not_found" | "refused", "rendering"):
            return "prediction.duplicate"
        case ("prediction", None, _) | ("job", "queued", "rendering"):
            return "prediction.created"
        case ("job", None, _):
            return "job.pushed"
        case ("job", "failed" | "cancelled", _):
            return "job.rechecked" if name == "recheck_jobs" else "job.retried"
        case (table, _, after):
            return f"{table}.{after}"


def run(session: Session, name: str, world: World, before: rows.State, **changes: Any) -> set[Move]:
    """Call a move and take it back; what has moved, having checked that each move has one event."""
    savepoint = session.begin_nested()
    outcome = world.call(session, name, **changes)
    after, events = rows.read_states(session), rows.list_events(session)
    savepoint.rollback()
    moves = [
        (row_id, (table, before.get((table, row_id)), state))
        for (table, row_id), state in after.items()
        if before.get((table, row_id)) != state
    ]
    context = f"{name}({changes}) in {world}"
    assert outcome or not moves, f"{context} moved {moves} and said {outcome!r}"
    reported = [(row_id, each["kind"]) for each in events for row_id in (each["job_id"], each["prediction_id"])]
    for row_id, move in moves:
        assert reported.count((row_id, kind_of(move, name))) == 1, f"{context}: {move} is in {reported}"
    untrue = STATE_KINDS & {kind for _, kind in reported} - {kind_of(move, name) for _, move in moves}
    assert not untrue, f"{context}: {untrue} did not happen"
    return {move for _, move in moves}


@pytest.fixture(scope="module")
def made() -> dict[str, set[Move]]:
    """What each move was seen to do, so that nothing is tried twice."""
    return {}


def moves_of(session: Session, name: str, made: dict[str, set[Move]]) -> set[Move]:
    """All that this move does, over every world and variant."""
    if name not in made:
        made[name] = try_everywhere(session, name)
    return made[name]


def try_everywhere(session: Session, name: str) -> set[Move]:
    of_one = {"job_id", "prediction_id", "claimed"} & set(inspect.signature(FUNCTIONS[name]).parameters)
    worlds = WORLDS if of_one else WORLDS[:1]  # others act on whatever is due
    variants = VARIANTS.get(name, {"": {}}).values()
    before = rows.read_states(session)
    return {move for variant in variants for world in worlds for move in run(session, name, world, before, **variant)}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_move_is_in_the_graph_and_reported_once(session: Session, made: dict[str, set[Move]], name: str) -> None:
    wrong = {move for move in moves_of(session, name, made) if not is_allowed(move)}
    assert not wrong


def test_together_the_moves_are_the_whole_graph(session: Session, made: dict[str, set[Move]]) -> None:
    together = {move for name in FUNCTIONS for move in moves_of(session, name, made) if move[1] is not None}
    graphs: dict[str, Any] = {"job": JOB_MOVES, "prediction": PREDICTION_MOVES}
    moves = {(table, b, a) for table, graph in graphs.items() for b, targets in graph.items() for a in targets}
    assert together == moves - NOT_YET_MADE


@pytest.mark.parametrize("name", sorted(FENCED))
@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_stale_claim_changes_nothing(session: Session, name: str, off_by: int) -> None:
    before = rows.read_everything(session)
    for variant in VARIANTS.get(name, {"": {}}).values():
        for world in WORLDS:
            assert not world.call(session, name, claim_off_by=off_by, **variant), world
    assert rows.read_everything(session) == before


OF_A_PERSON = {
    "cancel_job",
    "cancel_jobs",
    "retry_job",
    "retry_jobs",
    "adopt_unconfirmed",
    "dismiss_unconfirmed",
    "abandon_prediction",
}
OF_A_PERSON |= {"pause_account", "resume_account", "release_restored"}


@pytest.mark.parametrize(
    "name", sorted(FENCED | OF_A_PERSON | {"accept_answer", "accept_prediction", "refresh_outputs"})
)
def test_a_move_of_what_is_not_there_changes_nothing(session: Session, name: str) -> None:
    nowhere = World(JobState.QUEUED, ids={each: new_id() for each in ("job_id", "prediction_id", "account_id")})
    before = rows.read_everything(session)
    assert not nowhere.call(session, name)
    assert rows.read_everything(session) == before
