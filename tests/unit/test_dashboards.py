"""The alert rules and the Grafana dashboard in `deploy/`: made by the script, tested, and documented."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.promtool import run_promtool
from tests.unit.test_docs import anchors_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "rushes.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
MADE = ("prometheus/alerts.yml", "prometheus/tests.yml", "grafana/rushes.json")


def test_the_files_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DEPLOY / "generate.py", tmp_path], check=True, timeout=60)
    assert {name for name in MADE if (tmp_path / name).read_text() != (DEPLOY / name).read_text()} == set()
    written = {path.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("*.*") if path.suffix in {".yml", ".json"}}
    assert written == set(MADE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_it_is_explained(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert page.startswith("docs/operations/")
    assert anchor in anchors_of(ROOT / page)


def test_every_alert_is_tested_once_to_be_quiet_and_to_fire() -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests.yml").read_text())["tests"]
    asked = [(each["alertname"], "exp_alerts" in each) for test in tests for each in test["alert_rule_test"]]
    assert asked == [(rule["alert"], fires) for rule in RULES for fires in (False, True)]


def test_the_alerts_fire_when_they_should() -> None:
    run_promtool("check", "rules", PROMETHEUS / "alerts.yml")
    run_promtool("test", "rules", PROMETHEUS / "tests.yml")


def test_every_panel_has_its_own_id_and_place_and_the_chosen_datasource() -> None:
    panels = DASHBOARD["panels"]
    places = [{(x, y) for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])} for p in GRID]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set().union(*places)) == sum(len(place) for place in places)
    assert max(x for place in places for x, _ in place) < 24
    used = {each["datasource"]["uid"] for panel in panels for each in (panel, *panel["targets"])}
    assert used == {"${datasource}"}
    assert [each["type"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "query"]
    assert DASHBOARD["schemaVersion"] >= 36


GRID = [panel["gridPos"] for panel in DASHBOARD["panels"]]
