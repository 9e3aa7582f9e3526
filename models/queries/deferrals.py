"""What an account that was refused makes wait, and whether it still does, which its row alone cannot tell."""

REFUSED = """account.deferrals > 0
    AND (account.deferred_until > now() OR account.look_failures > 0 OR waiting.since IS NOT NULL)"""
"""The provider takes nothing: a hold lasts, looks fail, or something is yet to show that it takes submissions again."""

WAITING = """LATERAL (
        SELECT least(
            (SELECT min(due_at) FROM job WHERE state = 'queued'),
            (SELECT min(created_at) FROM prediction WHERE state = 'submitting' AND account_id = account.id)) AS since
        WHERE account.deferrals > 0
    ) AS waiting"""
"""Since when something is queued or not answered yet; null where nothing is. For LEFT JOIN ... ON true."""

WATCH_DUE = """(SELECT greatest(due_at, (SELECT max(looks_deferred_until) FROM account))
        FROM prediction WHERE state = 'rendering' ORDER BY due_at LIMIT 1)"""
"""When the first watch window ends, or may: none does while looks are held."""
