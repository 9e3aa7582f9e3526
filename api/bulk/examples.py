"""Examples of batches that are filled by several requests. A test checks each against its schema."""

from api.examples import PUSHED_BATCH, Json

REPEATED_BATCH: Json = {**PUSHED_BATCH, "repeated": True}
OPEN_BATCH: Json = {"name": "night", "defaults": {"model": "ltx-2-fast", "input": {"duration": 8}, "max_attempts": 5}}
LINES = """\
{"client_ref": "S-1", "input": {"prompt": "a red fox trotting through fresh snow at dawn"}}
{"client_ref": "S-2", "input": {"prompt": "a lighthouse in a storm", "duration": 10}, "priority": 5}
"""
JOBS_ADDED: Json = {
    "batch": "night",
    "added": 2,
    "first_number": 5001,
    "jobs": 5002,
    "cost": "0.7200",
    "warnings": [],
}
