"""What is kept of measurements, the tables made of it, and the order of a session."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.arithmetic import Figures
from bench.loads import CELERY, CONTESTANTS, LOADS, PROMISES, RUSHES, SDK
from bench.page import choose_plotted, render_page, write_docs
from bench.results import Book, Pushing, Result, SinglePolls, group, merge, read_book, write_book
from bench.session import Wanted, estimate_seconds, make_plan
from bench.tables import count_cores, make_table
from bench.watching import Comparison
from tests.support.measurements import FIGURES

CIRCUMSTANCES = {"machine": "a machine", "date": "2026-11-22 12:00 UTC", "load average before": "0.1", "versions": "v"}


def make_result(
    contestant: str = RUSHES, *runs: Figures, load: str = "watching-100", overflow: str = "queue"
) -> Result:
    return Result(
        load=load,
        about=LOADS["watching-100"].about,
        overflow=overflow,
        contestant=contestant,
        slots=100,
        median=20,
        sigma=0.5,
        runs=runs or (FIGURES,),
        circumstances=CIRCUMSTANCES,
    )


PUSHING = Pushing(batch=9_000, single=200, copy=90_000, commit=1_000, circumstances=CIRCUMSTANCES)
POLLS = SinglePolls(
    comparisons=tuple(
        Comparison(
            scenario="bimodal",
            price=price,
            requests=10.0,
            optimum=2.0,
            fixed=4.0,
            informed=2.0,
            prior=3.0,
            learned=2.1,
            learned_worst=2.3,
        )
        for price in (0.15, 0.5)
    ),
    farms=5,
    circumstances=CIRCUMSTANCES,
)


def test_a_new_measurement_replaces_only_its_own_figures() -> None:
    kept = Book((make_result(SDK), make_result(RUSHES), make_result(RUSHES, overflow="refuse")), PUSHING)
    anew = make_result(RUSHES, replace(FIGURES, mean_delay=0.2))
    merged = merge(kept, Book((anew,)))
    assert merged.results == (kept.results[0], anew, kept.results[2])
    assert merged.pushing == PUSHING


def test_a_book_is_read_as_it_was_written(tmp_path: Path) -> None:
    book = Book((make_result(SDK, FIGURES, replace(FIGURES, mean_delay=None)),), PUSHING, POLLS)
    path = tmp_path / "performance.json"
    path.write_text(write_book(book))
    assert read_book(path) == book
    assert read_book(tmp_path / "none.json") == Book()


def test_a_table_has_the_contestants_side_by_side_and_the_promise_last() -> None:
    table = make_table([make_result(SDK), make_result(RUSHES, replace(FIGURES, watching_requests=0.9))])
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.header == ("", "official SDK", "Rushes", "promised")
    assert rows["watching requests per render"] == ("21.80", "0.90", "<= 1.0, with webhooks <= 0.3")
    assert rows["slots busy while jobs waited"][:2] == ("95.4 %", "95.4 %")
    assert rows["CPU per render, own processes"][0] == "25.0 ms"
    assert "renders that ended unseen" not in rows


def test_a_figure_that_one_contestant_lacks_is_a_dash() -> None:
    table = make_table([make_result(SDK, replace(FIGURES, cpu_ms={"client": 9.0}, extra={})), make_result(RUSHES)])
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["- CPU, worker"][:2] == ("-", "12.0 ms")
    assert rows["API errors"][:2] == ("-", "0")


def test_cores_leave_the_servers_out() -> None:
    assert count_cores(FIGURES) == pytest.approx(0.1)


def test_every_promise_is_about_a_load_and_a_row_that_exist() -> None:
    for (load, overflow), promises in PROMISES.items():
        rows = make_table([make_result(RUSHES, load=load, overflow=overflow)]).rows
        assert load in LOADS
        assert sorted(row[-1] for row in rows if row[-1]) == sorted(promises.values())


def test_the_page_names_the_machine_the_day_and_how_to_repeat_it() -> None:
    results = (make_result(SDK, FIGURES, FIGURES, FIGURES), make_result(RUSHES, FIGURES, FIGURES, FIGURES))
    page = render_page(Book(results, PUSHING), plot=Path("images/watching.png"))
    assert "2026-11-22, a machine; load average before: 0.1, 0.1; v." in page
    assert "python -m bench watching-100 --contestant sdk --contestant rushes --runs 3\n" in page
    assert "medians over 3 runs" in page
    assert "](images/watching.png)" in page
    assert "| jobs of one batch | 9,000 | 0.100 |" in page


def test_single_polls_have_a_table_for_each_price() -> None:
    page = render_page(merge(Book((), None, POLLS), Book((), PUSHING)), plot=None)
    assert page.count("| bimodal | 10.0 | 2.00 s | 2.000 | 1.500 | 1.000 | 1.050 | 1.150 |") == 2
    assert "a request is worth 0.15 s of delay; medians over 5 simulated runs with different seeds" in page
    assert "    python -m bench single-polls\n" in page


def test_one_load_is_plotted_and_a_quick_one_only_in_default_of_another() -> None:
    quick, real, refused = (
        make_result(load="watching-100-quick"),
        make_result(),
        make_result(overflow="refuse", load="watching-100"),
    )
    assert choose_plotted([quick, refused]) == [quick]
    assert choose_plotted([quick, refused, real]) == [real]
    assert choose_plotted([refused]) == []


def test_writing_twice_keeps_what_was_there_and_draws_the_plot(tmp_path: Path) -> None:
    write_docs(Book((make_result(SDK),)), tmp_path)
    paths = write_docs(Book((make_result(RUSHES),), PUSHING), tmp_path)
    page = (tmp_path / "performance.md").read_text()
    assert "official SDK | Rushes" in page
    assert "## pushing" in page
    assert (tmp_path / "images" / "watching.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in paths] == ["performance.json", "performance.md", "watching.png"]
    assert len(group(read_book(tmp_path / "performance.json").results)) == 1


def test_contestants_take_turns_and_every_run_has_the_next_seed() -> None:
    load = LOADS["watching-100"]
    wanted = Wanted(loads=(None, load), contestants=(SDK, RUSHES), runs=2, seed=5, settings={})
    plan = make_plan(wanted)
    assert [(each.contestant, each.seed) for each in plan.contests] == [(SDK, 5), (RUSHES, 5), (SDK, 6), (RUSHES, 6)]
    assert plan.pushed_jobs > 0
    assert estimate_seconds(plan) > 4 * 227


def test_both_modes_of_the_provider_are_contests_of_their_own() -> None:
    wanted = Wanted(loads=(LOADS["slots-3"],), contestants=(CELERY,), overflows=("queue", "refuse"), settings={})
    plan = make_plan(wanted)
    assert [each.load.overflow for each in plan.contests] == ["queue", "refuse"]
    assert plan.pushed_jobs == 0


def test_every_contestant_is_described() -> None:
    assert all(set(load.contestants) <= set(CONTESTANTS) for load in LOADS.values())
