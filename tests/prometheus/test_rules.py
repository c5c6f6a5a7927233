"""The alert rules that are shipped: one for each condition, each with its tests and its runbook."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from decahertz.conditions import CONDITION_BY_ALERT, CONDITIONS, Condition
from tests.pipeline.running import ROOT
from tests.servers import require

pytestmark = pytest.mark.timeout(240)
"""promtool takes half a minute for all rules on a quiet machine."""
FILES = sorted((ROOT / "prometheus/alerts").glob("*.rules.yml"))
TEST_FILES = sorted((ROOT / "prometheus/tests").glob("*.yml"))
RECORDING = ROOT / "prometheus/recording.rules.yml"
EVALUATION_SECONDS = 15.0
NO_FIGURE = ("DeadMansSwitch", "RecorderDown", "ComponentUnhealthy")
"""Alerts whose value is a state, which the summary says in words."""


def content_of(file: Path) -> Any:  # noqa: ANN401 - of YAML
    return yaml.load(file.read_bytes(), yaml.CSafeLoader)  # ten times as fast: every process reads them all


def rules_of(*files: Path) -> list[dict[str, Any]]:
    groups = [group for file in files for group in content_of(file)["groups"]]
    return [rule for group in groups for rule in group["rules"]]


RULES = {rule["alert"]: rule for rule in rules_of(*FILES)}
TESTS = {test["name"]: (file, test) for file in TEST_FILES for test in content_of(file)["tests"]}


def promtool(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [require("promtool"), *arguments],
        cwd=ROOT,
        env={**os.environ, "GOGC": "400"},  # a quarter of its time goes into collecting garbage
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_tests_of_all_rules_pass() -> None:
    code, output = promtool("test", "rules", *map(str, TEST_FILES))
    assert code == 0, output


def test_each_condition_has_a_rule_of_its_severity_and_no_rule_is_without_one() -> None:
    assert RULES.keys() == CONDITION_BY_ALERT.keys()
    assert len(RULES) == len(rules_of(*FILES))
    for condition in CONDITIONS:
        assert RULES[condition.alert]["labels"] == {"severity": condition.severity.value}, condition.alert


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.alert)
def test_a_rule_says_what_its_condition_declares(condition: Condition) -> None:
    rule = RULES[condition.alert]
    thresholds = set(re.findall(r'decahertz_alert_threshold{alert="(\w+)"}', rule["expr"]))
    assert thresholds == ({condition.alert} if condition.key else set())
    assert f'alert=\\"{condition.alert}\\"' in rule["annotations"].get("threshold", "") or not condition.key
    assert rule["annotations"]["runbook_url"].endswith(f"/runbooks/{condition.alert}.md")
    if condition.alert == "DeadMansSwitch":
        assert "for" not in rule
        return
    # A single evaluation fires nothing, and a missed scrape resolves nothing.
    assert seconds(rule["for"]) == max(condition.for_seconds, EVALUATION_SECONDS)
    assert seconds(rule["keep_firing_for"]) >= 2 * EVALUATION_SECONDS
    if condition.key:
        operator = ">" if condition.is_above else "<"
        assert re.search(rf"^{operator} on \(recorder\) group_left \(\)$", rule["expr"], re.MULTILINE)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.alert)
def test_a_test_fires_the_alert_with_its_labels_and_another_leaves_it_quiet(condition: Condition) -> None:
    if condition.alert == "DeadMansSwitch":
        assert any(name.startswith("DeadMansSwitch fires") for name in TESTS)
        return
    _, fires = TESTS[f"{condition.alert} fires"]
    [case] = fires["alert_rule_test"]
    [alert] = case["exp_alerts"]
    assert case["alertname"] == condition.alert
    assert alert["exp_labels"].keys() == {"recorder", "severity", *condition.labels}
    summary = alert["exp_annotations"]["summary"]
    assert all(str(alert["exp_labels"][label]) in summary for label in condition.labels), "names the thing"
    if condition.alert not in NO_FIGURE:
        names = "|".join(re.escape(str(value)) for value in alert["exp_labels"].values())
        assert re.search(r"\d", re.sub(names, "", summary)), "names the figure"
    _, quiet = TESTS[f"{condition.alert} is quiet just below"]
    assert [case["exp_alerts"] for case in quiet["alert_rule_test"]] == [[]]


def test_what_stays_quiet_is_just_below_the_threshold(tmp_path: Path) -> None:
    """With thresholds a quarter lower (or a quarter higher), each quiet test fails: the alert fires."""
    expected = set()
    for file in TEST_FILES:
        content = content_of(file)
        content["rule_files"] = [str((file.parent / path).resolve()) for path in content["rule_files"]]
        content["tests"] = [
            test for test in content["tests"] if test["name"].endswith(" is quiet just below")
        ]
        for test in content["tests"]:
            for series in test["input_series"]:
                found = re.search(r'decahertz_alert_threshold{.*alert="(\w+)"', series["series"])
                if found:
                    expected.add(test["name"])
                    series["values"] = moved(series["values"], CONDITION_BY_ALERT[found[1]])
        (tmp_path / file.name).write_text(yaml.safe_dump(content))
    _, output = promtool("test", "rules", *map(str, sorted(tmp_path.glob("*.yml"))))

    assert set(re.findall(r"name: (.+),$", output, re.MULTILINE)) == expected
    assert expected == {f"{c.alert} is quiet just below" for c in CONDITIONS if c.key}


def moved(values: str, condition: Condition) -> str:
    """A series of thresholds, a quarter lower; higher for an alert that fires below it."""
    threshold, _, rest = values.partition("x")
    distance = 0.25 * float(threshold) or 0.5
    return f"{float(threshold) + (-distance if condition.is_above else distance):.6g}x{rest}"


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()  # type: ignore[union-attr]
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def families() -> set[str]:
    """Names of all series that the exporter has."""
    page = (ROOT / "docs/metrics.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row)}


def test_rules_read_only_series_that_exist() -> None:
    recorded = {rule["record"] for rule in rules_of(RECORDING)}
    known = families() | recorded | {"up", "ALERTS"}
    assert len(known) > 100
    for rule in rules_of(RECORDING, *FILES):
        name = rule.get("alert") or rule["record"]
        read = set(
            re.findall(r"\b(?:decahertz|process|recorder)_[a-z_0-9]+(?::\w+)*", uncommented(rule["expr"]))
        )
        assert not read - known - {"recorder_venue_instrument"}, name


def test_a_rule_judges_no_strategy_whose_past_is_not_all_known() -> None:
    reading = {name for name, rule in RULES.items() if "decahertz_strategy_" in rule["expr"]}
    assert reading == {
        name
        for name, rule in RULES.items()
        if 'max_over_time(decahertz_sampler_collector_behind{collector="strategy"}[1m]) == 1' in rule["expr"]
    }
    assert "PositionBreak" in reading


def uncommented(expression: str) -> str:
    """The expression without comments and selectors, which name labels."""
    without = re.sub(r"#.*", "", expression)
    return re.sub(r"{[^}]*}", "", without)


def test_what_is_recorded_is_used() -> None:
    dashboards = "".join(file.read_text() for file in (ROOT / "grafana").rglob("*.json"))
    read = " ".join(rule["expr"] for rule in rules_of(RECORDING, *FILES)) + dashboards
    for rule in rules_of(RECORDING):
        assert rule["record"] in read


def test_each_rule_has_a_runbook_and_each_runbook_a_rule() -> None:
    runbooks = {file.stem: file.read_text() for file in (ROOT / "docs/runbooks").glob("*.md")}
    assert runbooks.keys() == RULES.keys()
    for name, text in runbooks.items():
        headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
        assert headings == [f"# {name}", "## Meaning", "## Confirm", "## What to do"], name
        assert text.split("## Confirm")[1].split("## ")[0].count("```") == 2, f"{name}: a command"
