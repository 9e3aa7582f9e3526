"""Examples that follow one job: a fox is pushed, rendered and fetched. A test checks each against its schema."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from api.schemas.catalog import Catalog
from api.schemas.health import Ready
from api.schemas.jobs import JobListed, Links
from models import DEFAULT_TENANT, Job
from models.queries.health import EXPECTED_MIGRATION, Health
from rushes.catalog import VIDEO_MODELS
from rushes.jobs.views import JobView
from rushes.readiness import UNREACHABLE, Readiness

Json = dict[str, Any]

JOB_ID = "019a54c2-7d10-7c31-8a52-0f4be1d2a901"
PREDICTION_ID = "019a54c2-91f4-7d02-9a0b-5a1c3f7e6b12"
PROVIDER_ID = "5f2c1e0b7a9d4c63b8e1"
HOOK_TOKEN = "AZpUwpH0fQKaC1ocP35rEgGaVMJ9EHwxilIPS-HSqQH6eeW6UwIJiG_MNzH5d0mY"  # noqa: S105 - of no account
ACTION_ID = "019a54c5-1b20-7d4e-9c11-5a0f3e7b6d04"
KEY_ID = "019a54c1-0a10-7b52-8e4d-3f9c1d2e5a06"
BATCH_ID = "019a54c2-6b00-7e44-b0b1-2c9f5a7d8e03"
ADDRESS = "http://127.0.0.1:8000"
CURSOR = "AZpUwn0QfDGKUg9L4dKpAQ"
PROMPT = "a red fox trotting through fresh snow at dawn, low tracking shot"

NEW_JOB: Json = {"model": "ltx-2-pro", "input": {"prompt": PROMPT, "duration": 6}, "priority": 10, "max_attempts": 3}
NEW_IMAGE_JOB: Json = {
    "model": "ltx-2-fast-i2v",
    "input": {"image": "https://example.com/fox.jpg", "prompt": "the fox turns its head", "duration": 8},
}
UPLOAD_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
UPLOAD: Json = {
    "sha256": UPLOAD_SHA256,
    "size": 482113,
    "content_type": "image/jpeg",
    "reference": f"upload:sha256:{UPLOAD_SHA256}",
}
RETRY: Json = {"input": {"image": "https://example.com/other.jpg"}}
NEW_JOBS: Json = {"jobs": [NEW_JOB, NEW_IMAGE_JOB]}
NEW_BATCH: Json = {"name": "pilot", **NEW_JOBS, "on_repeat": "same_name"}
URGENT_BATCH: Json = {**NEW_BATCH, "finish_by": "2026-11-05T12:30:00Z"}

_PUSHED = Job(
    id=UUID(JOB_ID),
    video_model="lightricks/ltx-2-pro/text-to-video",
    input={"prompt": PROMPT, "duration": 6, "generate_audio": True},
    state="queued",
    priority=10,
    price=Decimal("0.36"),
    max_attempts=3,
    created_at=datetime.fromisoformat("2026-11-05T12:00:00.146283Z"),
)
_ASKED: Json = JobListed.of(JobView(_PUSHED), Links(ADDRESS)).model_dump(mode="json")
_VIDEO: Json = {
    "url": f"{ADDRESS}/v1/jobs/{JOB_ID}/video",
    "file_name": "01-a-red-fox-trotting-through-fresh-snow.mp4",
    "bytes": 9482113,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "container": "mp4",
    "seconds": 6.04,
    "width": 1920,
    "height": 1080,
    "has_audio": True,
    "poster_url": f"{ADDRESS}/v1/jobs/{JOB_ID}/poster",
    "removed_at": None,
}
_PREDICTION: Json = {
    "id": PREDICTION_ID,
    "attempt": 1,
    "state": "completed",
    "provider_id": PROVIDER_ID,
    "price": "0.3600",
    "created_at": "2026-11-05T12:00:00.412940Z",
    "posted_at": "2026-11-05T12:00:00.420118Z",
    "accepted_at": "2026-11-05T12:00:01.003277Z",
    "ended_at": "2026-11-05T12:01:38.551042Z",
    "watch_windows": 0,
    "is_duplicate": False,
    "video_url": None,
    "unverified_url": None,
    "error": None,
}

LISTED_JOB: Json = {
    **_ASKED,
    "state": "succeeded",
    "attempts": 1,
    "cost": {"held": "0.0000", "spent": "0.3600"},
    "ended_at": "2026-11-05T12:01:41.902664Z",
    "video": _VIDEO,
}
JOB: Json = {**LISTED_JOB, "progress": 1.0, "predictions": [_PREDICTION]}
PUSHED_JOB: Json = {**_ASKED, "predictions": [], "warnings": ["negative_prompt is not supported by ltx-2-pro: dropped"]}
JOB_PAGE: Json = {"items": [LISTED_JOB], "next_cursor": CURSOR}
CANCELLED_JOB: Json = {
    "outcome": "cancelled",
    "job": {**_ASKED, "state": "cancelled", "ended_at": "2026-11-05T12:00:09.310077Z", "predictions": []},
}
RETRIED_JOB: Json = {"state": "queued", "job": {**_ASKED, "predictions": []}}
RECHECKED_JOB: Json = {
    **_ASKED,
    "state": "storing",
    "attempts": 1,
    "cost": {"held": "0.0000", "spent": "0.3600"},
    "unverified": {
        "url": f"{ADDRESS}/v1/jobs/{JOB_ID}/unverified",
        "file_name": "01-a-red-fox.3a7bd3e2360a.unverified",
        "bytes": 9482113,
        "sha256": "3a7bd3e2360a3d29eea436fcfb7e44c735d117c42d1c1835420b6b9942dd4f1b",
        "content_type": "video/mp4",
        "source": "https://cdn.example.com/output/5f2c1e0b7a9d4c63b8e1.mp4",
        "message": "the output is not a playable video: no frame could be decoded",
        "kept_at": "2026-11-05T12:01:41.902664Z",
        "removed_at": None,
    },
    "predictions": [_PREDICTION],
}
EVENT_PAGE: Json = {
    "items": [
        {"id": 1041, "at": "2026-11-05T12:00:00.148101Z", "kind": "job.pushed", "prediction_id": None, "detail": {}},
        {
            "id": 1042,
            "at": "2026-11-05T12:00:00.413388Z",
            "kind": "prediction.created",
            "prediction_id": PREDICTION_ID,
            "detail": {"attempt": 1},
        },
    ],
    "next_cursor": None,
}

UNCONFIRMED: Json = {
    "items": [
        {
            "prediction_id": PREDICTION_ID,
            "job_id": JOB_ID,
            "tenant": "default",
            "batch": None,
            "model": "ltx-2-pro",
            "input": LISTED_JOB["input"],
            "price": "0.3600",
            "posted_at": "2026-11-05T12:00:00.420118Z",
            "needs_person": True,
            "reason": "a candidate's input cannot be read: decide by hand",
        }
    ]
}
ADOPTION: Json = {"provider_id": PROVIDER_ID}
ADOPTED_JOB: Json = {
    **_ASKED,
    "state": "rendering",
    "attempts": 1,
    "cost": {"held": "0.3600", "spent": "0.0000"},
    "predictions": [{**_PREDICTION, "state": "rendering", "ended_at": None}],
}
QUEUED_AGAIN_JOB: Json = {
    **_ASKED,
    "predictions": [{**_PREDICTION, "state": "not_found", "provider_id": None, "accepted_at": None}],
}
ABANDONMENT: Json = {"accept_double_cost": True}
_ABANDONED: Json = {"code": "abandoned", "message": "a person gave this render up; it may still be billed"}
ABANDONED_JOB: Json = {
    **_ASKED,
    "attempts": 1,
    "cost": {"held": "0.0000", "spent": "0.3600"},
    "error": _ABANDONED,
    "predictions": [{**_PREDICTION, "state": "lost", "watch_windows": 3, "error": _ABANDONED}],
}

BATCH: Json = {
    "id": BATCH_ID,
    "tenant": "default",
    "name": "pilot",
    "state": "sealed",
    "jobs": 24,
    "states": {"queued": 14, "rendering": 2, "storing": 0, "succeeded": 7, "failed": 1, "cancelled": 0},
    "waiting_at_provider": 0,
    "done": 8,
    "cost": {"estimated": "8.6400", "held": "0.7200", "spent": "2.5200"},
    "created_at": "2026-11-05T12:00:00.101883Z",
    "sealed_at": "2026-11-05T12:00:00.101883Z",
    "ended_at": None,
    "elapsed_seconds": 402.118,
    "seconds_left": 804.2,
    "time_left": {
        "expected_seconds": 804.2,
        "low_seconds": 655.0,
        "high_seconds": 1032.7,
        "expected_at": "2026-11-05T12:20:06.419883Z",
        "low_at": "2026-11-05T12:17:37.219883Z",
        "high_at": "2026-11-05T12:23:54.919883Z",
    },
    "time_left_unknown": None,
    "finish_by": "2026-11-05T12:30:00.000000Z",
    "finish_by_chance": 1.0,
    "at_risk": False,
    "mean_seconds": 198.402,
    "deleted_at": None,
    "outputs": None,
}
_ENDED_STATES: Json = {"queued": 0, "rendering": 0, "storing": 0, "succeeded": 23, "failed": 1, "cancelled": 0}
DELETED_BATCH: Json = {
    **BATCH,
    "state": "ended",
    "states": _ENDED_STATES,
    "done": 24,
    "cost": {"estimated": "8.6400", "held": "0.0000", "spent": "8.2800"},
    "ended_at": "2026-11-05T12:20:04.310077Z",
    "elapsed_seconds": 1204.208,
    "seconds_left": 0.0,
    "deleted_at": "2026-11-06T09:00:00.000000Z",
    **dict.fromkeys(("time_left", "finish_by_chance")),
}
PRUNE: Json = {"older_than_days": 90, "dry_run": False}
PRUNED: Json = {
    "removed": {"jobs": 2400, "predictions": 2466, "events": 24122, "batches": 3, "files": 4804},
    "prunable": None,
    "misplaced": 0,
    "done": True,
}
BATCH_PAGE: Json = {"items": [{**BATCH, "time_left": None, "finish_by_chance": None}], "next_cursor": None}
BATCH_EVENT_PAGE: Json = {
    "items": [
        {
            "id": 2210,
            "at": "2026-11-05T12:04:10.520113Z",
            "kind": "batch.at_risk",
            "prediction_id": None,
            "detail": {
                "finish_by": "2026-11-05T12:30:00Z",
                "chance": 0.83,
                "expected_at": "2026-11-05T12:26:41Z",
                "low_at": "2026-11-05T12:21:12Z",
                "high_at": "2026-11-05T12:33:58Z",
            },
        }
    ],
    "next_cursor": None,
}
PUSHED_BATCH: Json = {
    "repeated": False,
    **BATCH,
    "jobs": 2,
    "states": {"queued": 2, "rendering": 0, "storing": 0, "succeeded": 0, "failed": 0, "cancelled": 0},
    "done": 0,
    "cost": {"estimated": "0.6800", "held": "0.0000", "spent": "0.0000"},
    "elapsed_seconds": 0.012,
    **dict.fromkeys(("seconds_left", "time_left", "finish_by", "finish_by_chance", "mean_seconds")),
    "warnings": [{"message": "seed is not supported by ltx-2-fast-i2v: dropped", "jobs": 1}],
}
PRICE: Json = {
    "jobs": 2,
    "cost": "0.6800",
    "cost_by_model": {"lightricks/ltx-2-pro/text-to-video": "0.3600", "lightricks/ltx-2-fast/image-to-video": "0.3200"},
    "warnings": [],
}
CATALOG: Json = Catalog.model_validate({"models": VIDEO_MODELS[:1]}).model_dump(mode="json")
ACCOUNT: Json = {
    "name": "default",
    "slots": 2,
    "effective_slots": None,
    "submits_per_minute": 2,
    "max_spend_per_day": "50.0000",
    "spent_today": "3.2400",
    "cost": {"held": "0.7200", "spent": "14.4000", "refunded": "0.3600", "duplicate": "0.0000"},
    "status": None,
    "duplicates": 0,
    "unknown_predictions": 0,
    "check_price": 0.15,
    "outputs": None,
    "store": {"problem": None, "free_bytes": 412_000_000_000},
    "stale_writes": {"store.renew": 1},
}
PAUSED_ACCOUNT: Json = {
    **ACCOUNT,
    "status": {
        "condition": "paused",
        "since": "2026-11-05T12:00:00.146283Z",
        "detail": "person: mara",
        "next_try_at": None,
        "message": "the account is paused (person: mara), since 2026-11-05 12:00:00 UTC",
        "what_to_do": "run `rushes account resume`",
    },
}

_WORKING = Readiness(reachable=True, migration=EXPECTED_MIGRATION, health=Health("worker-1@render-host", 2))
ALIVE: Json = {"status": "ok"}
READY: Json = Ready.of(_WORKING).model_dump(mode="json")
NOT_READY: Json = Ready.of(UNREACHABLE).model_dump(mode="json")
ME: Json = {
    "tenant": "default",
    "tenant_id": str(DEFAULT_TENANT),
    "key_id": KEY_ID,
    "name": "default/ci",
    "scopes": ["push", "read"],
}
