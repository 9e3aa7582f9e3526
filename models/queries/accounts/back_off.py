"""The work that waits because the provider refused an account, and whether it still waits. The account's row alone does
not show this."""

from models.lifecycle import CHECKS_QUIET, IN_A_ROW

REFUSED = f"""account.back_offs > 0
    AND (account.back_off_until > now() OR account.check_failures > 0 AND account.back_off_reason <> 'unreachable'
        OR account.back_off_until > now() - interval '{IN_A_ROW}' AND waiting.since IS NOT NULL
            AND (waiting.is_held OR account.back_off_reason <> 'unreachable'))"""
"""The provider takes nothing: a back-off lasts, checks fail, or no submission has yet shown that it accepts again. The
next submission is tried as soon as the back-off has passed. If the provider was unreachable, a submission that still
fails must wait: checks over connections that were opened before may be answered although no new one can be opened."""

WAITING = """LATERAL (
        SELECT least(
            (SELECT created_at FROM job WHERE state BETWEEN 'queued' AND 'queued' AND paused_at IS NULL
                ORDER BY state, id LIMIT 1),
            (SELECT min(job.created_at) FROM prediction JOIN job ON job.id = prediction.job_id
                WHERE prediction.state = 'submitting' AND prediction.account_id = account.id)) AS since,
            EXISTS (SELECT FROM prediction WHERE state = 'submitting' AND posted_at IS NULL
                AND prediction.account_id = account.id) AS is_held
        WHERE account.back_offs > 0
    ) AS waiting"""
"""Since when something is queued or not answered yet; null if nothing is. `is_held`: a submission that has its slot was
not sent. For LEFT JOIN ... ON true.

With a range of states, the planner reads the index of states. With one state, it walks all ended jobs by their ids."""

WATCH_DUE = f"""(SELECT greatest(due_at, (SELECT max(check_back_off_until) + interval '{CHECKS_QUIET}' FROM account))
        FROM prediction WHERE state = 'rendering' ORDER BY due_at LIMIT 1)"""
"""When the first watch window ends. No window ends before checks have worked again for `CHECKS_QUIET`."""
