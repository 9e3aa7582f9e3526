"""Names use the field's standard terms, as `docs/glossary.md` defines them; the words they replaced stay out."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("api", "bench", "chaos", "cli", "models", "rushes", "rushes_client", "sandbox", "stack", "tests", "workers")
WORDS = {
    "absent": "not_found",
    "ahead": "overcommit",
    "deferral": "back_off",
    "deferrals": "back_offs",
    "deferred": "backed_off",
    "doubt": "unconfirmed",
    "doubts": "unconfirmed",
    "foretell": "forecast",
    "foretold": "forecast",
    "hinted": "early_check",
    "hurry": "request_early",
    "look": "check",
    "lookout": "WatchScheduler",
    "looks": "checks",
    "odd": "inconsistent",
    "orphan": "unknown_prediction",
    "orphans": "unknown_predictions",
    "pace": "rate limit, rate_slot",
    "parked": "quarantined",
    "silence": "crash",
    "silent": "crashed",
    "surplus": "duplicate",
    "surpluses": "duplicates",
    "told": "logged, returned, known",
    "verdict": "outcome",
    "verdicts": "outcomes",
    "witness": "control prediction",
    "witnesses": "controls",
}
"""What was said before, and what is said now."""
NAMES = {"Home", "Standing", "Opening", "Settled", "Spread", "PostWindow", "AheadSize", "Leaving", "Fitness", "Pass"}
ELSEWHERE = {"test_words.py", "test_migrations.py"}  # which hold the old words by purpose
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./-][A-Za-z_][A-Za-z0-9_]*)*")


def list_names(path: Path) -> Iterator[str]:
    """Names of the code, and literals that are one: states, columns, events, fields of the API."""
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.NAME:
                yield token.string
            elif token.type == tokenize.STRING:
                literal = token.string.lstrip("rbfuRBFU").strip("\"'")
                if IDENTIFIER.fullmatch(literal):
                    yield literal


@pytest.mark.parametrize("place", PLACES)
def test_no_name_uses_a_replaced_word(place: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}: {name} (say {WORDS.get(word, 'another name')})"
        for path in (ROOT / place).rglob("*.py")
        if path.name not in ELSEWHERE
        for name in list_names(path)
        for word in [each.lower() for each in PART.findall(name)]
        if word in WORDS or name in NAMES
    }
    assert not found


RULED_OUT = re.compile(r"(?<![a-z])(told|hardly|lest|foretell|beside|so[ _]many|so[ _]long)(?![a-z])", re.IGNORECASE)
"""Words that make a sentence, or the name of a test, hard to read."""
PROSE = (*PLACES, "docs", "alembic", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")


@pytest.mark.parametrize("place", PROSE)
def test_no_sentence_uses_a_ruled_out_word(place: str) -> None:
    paths = [ROOT / place] if (ROOT / place).is_file() else [*(ROOT / place).rglob("*")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        if path.suffix in {".py", ".md", ".html"} and path.name not in ELSEWHERE
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if RULED_OUT.search(line)
    ]
    assert found == []
