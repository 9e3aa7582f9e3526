"""Examples of the event feed. A test checks each against its schema."""

import json

from api.examples import ADDRESS, JOB_ID, Json

ITEM: Json = {
    "id": 1071,
    "at": "2026-11-05T12:02:11.902417Z",
    "kind": "job.succeeded",
    "tenant": "default",
    "job_id": JOB_ID,
    "job_url": f"{ADDRESS}/v1/jobs/{JOB_ID}",
    "batch": "pilot",
    "number": 1,
    "client_ref": "TEST-001",
    "metadata": {"scene": 3},
    "prediction_id": None,
    "detail": {},
}
FEED: Json = {"items": [ITEM], "cursor": 1071, "more": False}
STREAM = f""": connected
retry: 2000
id: 1066

id: 1071
event: job.succeeded
data: {json.dumps(ITEM)}

"""
