"""Add predictions to the statistics that outlive them. The statement that counts or removes them does it, once each."""

from models.money import REFUNDED, SPENT
from models.tables.statistics import LATENCY_BOUNDS, Latency

_BOUNDS = "'{{{}}}'::float8[]".format(",".join(str(bound) for bound in LATENCY_BOUNDS))

_SUBMIT = "CASE WHEN adopted_at IS NULL AND NOT is_duplicate THEN accepted_at - posted_at END"
_STORE = "CASE WHEN prediction.state = 'completed' THEN stored_at - prediction.ended_at END"
# A render certainly ran when a check saw it running, and for as long as the provider says.
_DETECTION = """CASE WHEN prediction.state = 'completed' AND adopted_at IS NULL AND NOT is_duplicate THEN
                prediction.ended_at
                    - greatest(seen_running_at, accepted_at + make_interval(secs => execution_seconds)) END"""

COUNTED = f"""stored AS (
        SELECT prediction_id, count(*) AS files, sum(bytes) AS bytes,
            max(seconds) FILTER (WHERE kind = 'video') AS seconds,
            max(created_at) FILTER (WHERE kind = 'video') AS stored_at
        FROM files WHERE kind <> 'unverified' GROUP BY prediction_id
    ), counted AS (
        INSERT INTO daily_total AS total
            (account_id, day, video_model, renders, seconds, files, bytes, spent, refunded, duplicate, duplicates)
        SELECT account_id, (prediction.ended_at AT TIME ZONE 'UTC')::date, video_model,
            count(*) FILTER (WHERE prediction.state = 'completed'), coalesce(sum(stored.seconds), 0),
            coalesce(sum(stored.files), 0), coalesce(sum(stored.bytes), 0),
            coalesce(sum(prediction.price) FILTER (WHERE {SPENT}), 0),
            coalesce(sum(prediction.price) FILTER (WHERE {REFUNDED}), 0),
            coalesce(sum(prediction.price) FILTER (WHERE is_duplicate AND {SPENT}), 0),
            count(*) FILTER (WHERE is_duplicate)
        FROM ended AS prediction JOIN job ON job.id = job_id LEFT JOIN stored ON stored.prediction_id = prediction.id
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (account_id, day, video_model) DO UPDATE
        SET renders = total.renders + excluded.renders, seconds = total.seconds + excluded.seconds,
            files = total.files + excluded.files, bytes = total.bytes + excluded.bytes,
            spent = total.spent + excluded.spent, refunded = total.refunded + excluded.refunded,
            duplicate = total.duplicate + excluded.duplicate, duplicates = total.duplicates + excluded.duplicates
    ), measured AS (
        INSERT INTO latency_bucket AS bucket (kind, at_most, predictions, seconds)
        SELECT latency.kind, (SELECT min(bound) FROM unnest({_BOUNDS}) AS bound WHERE bound >= spell.seconds),
            count(*), sum(spell.seconds)
        FROM ended AS prediction LEFT JOIN stored ON stored.prediction_id = prediction.id
            CROSS JOIN LATERAL (VALUES ('{Latency.SUBMIT}', {_SUBMIT}), ('{Latency.STORE}', {_STORE}),
                ('{Latency.DETECTION}', {_DETECTION})) AS latency (kind, length)
            CROSS JOIN LATERAL (SELECT greatest(0, extract(epoch FROM latency.length))::float8 AS seconds) AS spell
        WHERE latency.length IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (kind, at_most) DO UPDATE
        SET predictions = bucket.predictions + excluded.predictions, seconds = bucket.seconds + excluded.seconds
    )"""
"""SQL: the tables of a statement that add the predictions `ended`, with their artifacts `files`, to the statistics.

Rows are written in one order, so that two processes at once cannot deadlock.
"""
