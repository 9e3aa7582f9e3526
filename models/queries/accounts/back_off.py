"""What an account that was refused makes wait, and whether it still does, which its row alone cannot tell."""

from models.lifecycle import IN_A_ROW

REFUSED = f"""account.back_offs > 0
    AND (account.back_off_until > now() OR account.check_failures > 0
        OR account.back_off_until > now() - interval '{IN_A_ROW}' AND waiting.since IS NOT NULL)"""
"""The provider takes nothing: a hold lasts, checks fail, or something is yet to show that it takes submissions again,
which is tried as soon as a hold has passed."""

WAITING = """LATERAL (
        SELECT least(
            (SELECT created_at FROM job WHERE state = 'queued' ORDER BY id LIMIT 1),
            (SELECT min(job.created_at) FROM prediction JOIN job ON job.id = prediction.job_id
                WHERE prediction.state = 'submitting' AND prediction.account_id = account.id)) AS since
        WHERE account.back_offs > 0
    ) AS waiting"""
"""Since when something is queued or not answered yet; null where nothing is. For LEFT JOIN ... ON true."""

WATCH_DUE = """(SELECT greatest(due_at, (SELECT max(check_back_off_until) FROM account))
        FROM prediction WHERE state = 'rendering' ORDER BY due_at LIMIT 1)"""
"""When the first watch window ends, or may: none does while checks are held."""
