"""What a run of chaos does to its own database."""

from sqlalchemy.orm import Session

from chaos.queries import hasten_stores
from tests.support.rows import MINUTE, NOW, SECOND, add_render, change, read


def test_downloads_that_wait_after_a_failure_are_due_at_once(scratch: Session) -> None:
    waiting, leased, unstarted = (add_render(scratch, "completed") for _ in range(3))
    change(scratch, "prediction", waiting.prediction_id, error_code="not_stored", due_at=4 * MINUTE)
    change(scratch, "prediction", leased.prediction_id, error_code="not_stored", due_at=MINUTE, begun_at=NOW)
    change(scratch, "prediction", unstarted.prediction_id, error_code="not_stored", due_at=14 * SECOND)
    before = [read(scratch, "prediction", each.prediction_id)["due_at"] for each in (leased, unstarted)]
    hasten_stores(scratch)
    assert read(scratch, "prediction", waiting.prediction_id)["due_at"] < before[1]
    assert [read(scratch, "prediction", each.prediction_id)["due_at"] for each in (leased, unstarted)] == before
