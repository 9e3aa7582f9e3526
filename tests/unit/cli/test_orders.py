"""Lines and options become jobs, or one refusal that names every line and field."""

from typing import Any

import pytest

from cli.prompt_file.jobs import Fill, Prepared, prepare_jobs
from cli.prompt_file.records import FileRefused, Line, PromptFile
from rushes.errors import InvalidInput

RETAKE = {"model": "ltx-2-retake", "prompt": "p", "video": "https://example.com/v.mp4", "end_time": 4}

NOTHING = Fill()


def prepare(*records: dict[str, Any], fill: Fill = NOTHING, max_jobs: int = 100) -> Prepared:
    lines = [Line(number, record) for number, record in enumerate(records, start=1)]
    return prepare_jobs(PromptFile("f.jsonl", lines), fill, max_jobs=max_jobs)


def refusals(*records: dict[str, Any], fill: Fill = NOTHING) -> list[str]:
    with pytest.raises(FileRefused) as caught:
        prepare(*records, fill=fill)
    return caught.value.lines()


def test_options_fill_what_lines_leave_open_and_a_line_s_own_value_wins() -> None:
    fill = Fill(model="ltx-2-fast", duration=20, audio=False, priority=5, max_attempts=2)
    own = {
        "prompt": "b",
        "model": "ltx-2-pro",
        "duration": 8,
        "generate_audio": True,
        "priority": -1,
        "max_attempts": 1,
    }
    first, second = prepare({"prompt": "a"}, own, fill=fill).jobs
    assert first == {
        "model": "ltx-2-fast",
        "input": {"prompt": "a", "duration": 20, "generate_audio": False},
        "priority": 5,
        "max_attempts": 2,
    }
    assert second == {
        "model": "ltx-2-pro",
        "input": {"prompt": "b", "duration": 8, "generate_audio": True},
        "priority": -1,
        "max_attempts": 1,
    }


def test_an_option_goes_only_where_the_video_model_has_the_parameter() -> None:
    prepared = prepare({"prompt": "a", "model": "ltx-2-pro"}, RETAKE, fill=Fill(duration=10, audio=False))
    assert [sorted(job["input"]) for job in prepared.jobs] == [
        ["duration", "generate_audio", "prompt"],
        ["end_time", "prompt", "video"],
    ]
    assert not prepared.warnings


def test_an_option_that_fits_no_line_is_warned_of() -> None:
    assert list(prepare(RETAKE, fill=Fill(duration=10)).warnings) == [
        "--duration has no effect: no line that lacks this value can take it"
    ]


def test_cells_of_a_csv_get_the_type_of_their_parameter() -> None:
    cells = {"prompt": "7", "model": "ltx-2-pro", "duration": "8", "generate_audio": "No", "priority": "3"}
    region = {**RETAKE, "start_time": "1.5", "end_time": "4"}
    first, second = prepare(cells, region).jobs
    assert first == {
        "model": "ltx-2-pro",
        "input": {"prompt": "7", "duration": 8, "generate_audio": False},
        "priority": 3,
    }
    assert (second["input"]["start_time"], second["input"]["end_time"]) == (1.5, 4.0)


def test_dropped_parameters_are_warned_of_and_counted() -> None:
    prepared = prepare(*({"prompt": "a", "model": "ltx-2-pro", "seed": n} for n in range(3)))
    assert dict(prepared.warnings) == {"seed is not supported by ltx-2-pro: dropped": 3}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"duration": 7}, "f.jsonl:2: duration: must be one of 6, 8, 10, not 7"),
        ({"prompt": ""}, "f.jsonl:2: prompt: must not be empty"),
        ({"steps": 3}, "f.jsonl:2: steps: ltx-2-pro has no such parameter; it has prompt, duration, generate_audio"),
        ({"model": "sora"}, "f.jsonl:2: model: unknown video model 'sora'; choose one of ltx-2-pro, "),
        ({"model": ["ltx-2-pro"]}, "f.jsonl:2: model: unknown video model"),
        ({"priority": 1.5}, "f.jsonl:2: priority: must be a whole number, not 1.5"),
        ({"priority": True}, "f.jsonl:2: priority: must be a whole number, not True"),
        ({"priority": 101}, "f.jsonl:2: priority: must be between -100 and 100, not 101"),
        ({"max_attempts": 0}, "f.jsonl:2: max_attempts: must be between 1 and 20, not 0"),
        ({"max_attempts": None}, "f.jsonl:2: max_attempts: must be a whole number, not None"),
    ],
)
def test_a_wrong_line_is_refused_by_line_and_field(record: dict[str, Any], expected: str) -> None:
    good = {"prompt": "a", "model": "ltx-2-pro"}
    (line,) = refusals(good, {**good, **record}, good)
    assert line.startswith(expected)


def test_a_cell_that_is_no_number_is_refused_as_the_text_it_is() -> None:
    cells = {"prompt": "a", "model": "ltx-2-pro", "duration": "long", "priority": "high"}
    assert refusals(cells) == [
        "f.jsonl:1: priority: must be a whole number, not 'high'",
        "f.jsonl:1: duration: must be a whole number, not 'long'",
    ]


def test_every_problem_of_every_line_is_named_in_order() -> None:
    lines = refusals({"prompt": "", "model": "ltx-2-pro", "duration": 7}, {"prompt": "fine"}, RETAKE | {"end_time": 40})
    assert [line.split(": ")[:2] for line in lines] == [
        ["f.jsonl:1", "prompt"],
        ["f.jsonl:1", "duration"],
        ["f.jsonl:2", "model"],
        ["f.jsonl:3", "end_time"],
    ]


def test_a_wrong_option_is_named_once_and_not_once_per_line() -> None:
    records = [{"prompt": "a"}] * 50
    assert refusals(*records, fill=Fill(model="ltx-2-pro", duration=7)) == [
        "f.jsonl: --duration: must be one of 6, 8, 10, not 7 (ltx-2-pro)"
    ]


def test_no_video_model_anywhere_is_one_problem_of_the_file() -> None:
    assert refusals({"prompt": "a"}, {"prompt": "b"}) == [
        "f.jsonl: model: no line names a video model: name one with --model"
    ]


def test_options_that_are_wrong_by_themselves_are_refused_before_the_lines() -> None:
    with pytest.raises(InvalidInput) as caught:
        prepare({"prompt": ""}, fill=Fill(model="sora", priority=101, max_attempts=21))
    assert [problem.field for problem in caught.value.problems] == ["--model", "--priority", "--max-attempts"]


def test_a_file_of_too_many_jobs_is_refused_whole() -> None:
    with pytest.raises(FileRefused, match=r"f\.jsonl: holds 3 jobs; a batch takes at most 2"):
        prepare(*[{"prompt": "a", "model": "ltx-2-pro"}] * 3, max_jobs=2)
