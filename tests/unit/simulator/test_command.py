"""The options of the simulator's command."""

from decimal import Decimal

import pytest

from sandbox.wavespeed.__main__ import main, read_settings
from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.faults import FAULTS


def settings_of(*arguments: str) -> SimulatorSettings:
    return read_settings(["--api-key", "secret-key", *arguments])


def test_the_defaults_of_the_command_are_those_of_the_settings() -> None:
    assert settings_of() == SimulatorSettings(api_key="secret-key")


def test_faults_are_read_as_probability_or_rule() -> None:
    settings = settings_of(
        "--fault", "submit_504=0.1", "--fault", 'get_5xx={"status": 502, "count": 2}', "--fault", "outage"
    )
    assert settings.faults == {"submit_504": 0.1, "get_5xx": {"status": 502, "count": 2}, "outage": 1}


def test_money_is_read_exactly() -> None:
    assert settings_of("--balance", "0.1").balance == Decimal("0.1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fault", "nonsense=1"],
        ["--fault", "submit_504=x"],
        ["--fault", "submit_504=3"],
        ["--speed", "0"],
        ["--overflow", "spill"],
    ],
)
def test_wrong_options_end_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--api-key", "k", *arguments])
    assert end.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_help_names_every_fault_and_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert "examples:" in shown
    assert all(name in shown for name in FAULTS)


def test_settings_do_not_show_their_key() -> None:
    assert "secret-key" not in repr(settings_of())
