"""The moves: one function per change of state, each one guarded UPDATE that also appends its event.

Every function returns what it moved, or None (or False) where somebody was first or the claim is stale; nothing is
raised for losing a race. No two moves can wait for each other: predictions are locked before their jobs, an
account's row last of all, and who locks an account first (admission, claiming) takes the rest with SKIP LOCKED. Only
this folder writes a state.
"""

from models.transitions.accounts import (
    clear_deferral,
    clear_look_failures,
    count_deferrals,
    count_look_failures,
    defer_account,
    ensure_account,
    limit_slots,
    note_look_failure,
    raise_slots,
)
from models.transitions.admission import ClaimedSubmit, admit_jobs, claim_submits, lock_account
from models.transitions.deciding import abandon_prediction, adopt_doubt, dismiss_doubt
from models.transitions.jobs import cancel_job, insert_batch, insert_jobs, retry_job
from models.transitions.leadership import drop_worker, lead, resign, see_worker
from models.transitions.reconciling import (
    PassTicket,
    begin_reconcile,
    claim_reconcile,
    finish_reconcile,
    insert_orphans,
    mark_absent,
    note_undecidable,
    postpone_doubts,
    renew_reconcile,
    yield_adoption,
)
from models.transitions.retention import end_retained, note_retention_near
from models.transitions.storing import (
    ClaimedStore,
    NewArtifact,
    StoreTicket,
    begin_store,
    claim_stores,
    delay_store,
    fail_store,
    finish_store,
    postpone_stores,
    refresh_outputs,
    renew_store,
)
from models.transitions.submitting import (
    SubmitTicket,
    accept_prediction,
    begin_submit,
    doubt_overdue,
    doubt_submit,
    hand_back_submit,
    postpone_submits,
    refuse_submit,
    unpost_submit,
)
from models.transitions.watching import (
    TimedOutWatch,
    clear_odd,
    complete_prediction,
    end_prediction,
    note_odd,
    requeue_timed_out,
)

__all__ = [
    "ClaimedStore",
    "ClaimedSubmit",
    "NewArtifact",
    "PassTicket",
    "StoreTicket",
    "SubmitTicket",
    "TimedOutWatch",
    "abandon_prediction",
    "accept_prediction",
    "admit_jobs",
    "adopt_doubt",
    "begin_reconcile",
    "begin_store",
    "begin_submit",
    "cancel_job",
    "claim_reconcile",
    "claim_stores",
    "claim_submits",
    "clear_deferral",
    "clear_look_failures",
    "clear_odd",
    "complete_prediction",
    "count_deferrals",
    "count_look_failures",
    "defer_account",
    "delay_store",
    "dismiss_doubt",
    "doubt_overdue",
    "doubt_submit",
    "drop_worker",
    "end_prediction",
    "end_retained",
    "ensure_account",
    "fail_store",
    "finish_reconcile",
    "finish_store",
    "hand_back_submit",
    "insert_batch",
    "insert_jobs",
    "insert_orphans",
    "lead",
    "limit_slots",
    "lock_account",
    "mark_absent",
    "note_look_failure",
    "note_odd",
    "note_retention_near",
    "note_undecidable",
    "postpone_doubts",
    "postpone_stores",
    "postpone_submits",
    "raise_slots",
    "refresh_outputs",
    "refuse_submit",
    "renew_reconcile",
    "renew_store",
    "requeue_timed_out",
    "resign",
    "retry_job",
    "see_worker",
    "unpost_submit",
    "yield_adoption",
]
