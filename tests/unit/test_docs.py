"""The documents are true where a program can tell: links, the table of failures, and the names of what is logged."""

import json
import re
import shlex
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from api.app import create_app
from cli.app import app
from models.lifecycle import JOB_MOVES, PREDICTION_MOVES, JobState, PredictionState
from rushes import timing
from rushes.settings import Settings
from rushes.timing import RetryPolicy
from rushes.wavespeed.answers import ANSWERS, NotSent
from rushes.wavespeed.render_failures import TASK_ERRORS, FailureClass
from tests.support.api_server import Contract

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
FAILURES = (ROOT / "docs" / "failures.md").read_text()
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
FAULTS = "".join(path.read_text() for path in sorted((ROOT / "docs" / "operations").glob("*.md")))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text() + FAULTS
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
SOURCES = "".join(
    path.read_text()
    for folder in ("api", "models", "rushes", "workers")
    for path in sorted((ROOT / folder).rglob("*.py"))
)

POLICIES = {name: value for name, value in vars(timing).items() if isinstance(value, RetryPolicy)}
MEASURED = {"docs/performance.md"}
"""Written by `python -m bench --write-docs`."""
PREFIXES = (
    "account|ack|batch|callback|dispatcher|endpoint|unconfirmed|epoch|job|outputs|prediction|request|store|submit|duplicate|watch|watchdog|webhook|worker"
    "|write"
)


def anchors_of(path: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def rows_of(text: str) -> list[list[str]]:
    """The cells of all tables, row by row."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\[[^\]]+\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", path.read_text())
    for place, anchor in links:
        target = (path.parent / place).resolve() if place else path
        if target.relative_to(ROOT).as_posix() in MEASURED and not target.exists():
            continue
        assert target.exists(), place
        assert not anchor or anchor in anchors_of(target), f"{place}#{anchor}"


def test_every_fault_is_in_the_index() -> None:
    faults = {
        f"operations/{path.name}#{anchor}"
        for path in (ROOT / "docs" / "operations").glob("*.md")
        for anchor in anchors_of(path)
        if not anchor.startswith("faults-")
    }
    assert faults
    assert faults == {link for link in re.findall(r"\]\((operations/[^)]+)\)", OPERATIONS) if "#" in link}


def test_the_table_of_waits_has_every_policy_with_its_figures() -> None:
    reported = {cells[0].strip("`"): cells[1:] for cells in rows_of(FAILURES.split("## The waits")[1])[1:]}
    assert reported == {
        name: [f"{spell(policy.base)} s", f"{spell(policy.cap)} s"] for name, policy in POLICIES.items()
    }


def spell(length: timedelta) -> str:
    return f"{length.total_seconds():.0f}"


def test_every_policy_is_some_class_s() -> None:
    used = set(re.findall(r"`([A-Z_]{5,})`", FAILURES.split("## The waits")[0]))
    assert used == POLICIES.keys()


def test_every_class_of_failed_predictions_has_its_row_and_its_codes() -> None:
    rows = {cells[0].strip("`"): cells for cells in rows_of(FAILURES) if cells[0].strip("`") in set(FailureClass)}
    assert rows.keys() == set(FailureClass)
    for failure in FailureClass:
        assert (rows[failure][4] == "`RENDER_FAILED`") is failure.is_worth_retrying
        assert {str(code) for code, kind in TASK_ERRORS.items() if kind is failure} == set(
            re.findall(r"\b\d{4}\b", rows[failure][1])
        )


def test_every_decision_about_an_answer_has_its_row() -> None:
    decisions = {kind.__name__ for row in ANSWERS for kind in (row.submit, row.check, row.ask)} | {NotSent.__name__}
    named = {name for cells in rows_of(FAILURES) for name in re.findall(r"`(\w+)`", cells[0])}
    assert decisions <= named


def test_every_line_that_is_logged_is_reported() -> None:
    logged = set(re.findall(r"log\.\w+\(\s*\"([a-z_]+\.[a-z_]+)\"", SOURCES))
    assert len(logged) > 20
    assert {each for each in logged if f"`{each}`" not in OPERATIONS} == set()


def test_every_event_is_in_the_glossary() -> None:
    moves = "".join(path.read_text() for path in (ROOT / "models" / "transitions").rglob("*.py"))
    kinds = set(re.findall(rf"'((?:{PREFIXES})\.[a-z_]+)'", moves))
    assert len(kinds) > 30
    assert {each for each in kinds if f"`{each}`" not in GLOSSARY} == set()


def test_every_event_line_and_task_that_the_faults_name_exists() -> None:
    named = set(re.findall(rf"`((?:{PREFIXES}|queue|render)\.[a-z_]+)`", FAULTS))
    assert len(named) > 40
    made = set(re.findall(r"`([a-z]+\.[a-z_]+)`", GLOSSARY))
    assert {each for each in named if f'"{each}"' not in SOURCES and f"'{each}'" not in SOURCES} <= made


@pytest.mark.parametrize(
    ("number", "moves", "starts"),
    [(0, JOB_MOVES, {JobState.QUEUED}), (1, PREDICTION_MOVES, {PredictionState.SUBMITTING})],
    ids=["job", "prediction"],
)
def test_the_state_diagram_shows_every_move(
    number: int, moves: Mapping[StrEnum, frozenset[StrEnum]], starts: set[StrEnum]
) -> None:
    diagrams = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", ARCHITECTURE, re.DOTALL)
    drawn = re.findall(r"^ +(\S+) --> (\w+)", diagrams[number], re.MULTILINE)
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {(source, target) for source, targets in moves.items() for target in targets} | {
        ("[*]", start) for start in starts
    }


def commands_in(page: Path) -> list[list[str]]:
    """The words of every `rushes ...` line in the code blocks of a page, without comments."""
    blocks = re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL)
    lines = re.findall(r"^ *(?:.* \| )?(rushes .*)$", "".join(blocks), re.MULTILINE)
    return [shlex.split(line.partition("  #")[0])[1:] for line in lines]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    for words in commands_in(page):
        command: Any = get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not hasattr(command, "commands"), words
        options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("-") and word != "-"} <= options, words


@pytest.mark.parametrize("page", GUIDES, ids=lambda path: path.name)
def test_every_address_on_a_page_exists_and_takes_the_body_shown(page: Path) -> None:
    document = create_app(Settings(database_url="postgresql://127.0.0.1:1/none", data_dir=Path("nowhere"))).openapi()
    patterns = [re.sub(r"\{\w+\}", r"[^/ ]+", path) for path in document["paths"]]
    for address in re.findall(r"/v1/[a-z_/{}A-Z]+", page.read_text()):
        assert any(re.match(pattern, address) for pattern in patterns) or address in {"/v1/hooks/"}, address
    for path, body in re.findall(r"(/v1/\w+) -H [^\\]*\\\n\s*-d '(.*?)'\n", page.read_text(), re.DOTALL):
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        Contract(document).validate(schema, json.loads(body))
