"""Commands in texts that a terminal shows can be copied and run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from stack import CHECKOUT

from gaiaflow_py import called, cli, options

LAUNCHER = str(CHECKOUT / "gaiaflow-setup").replace(" ", "\\ ")
TEXTS = {
    "Look with gaiaflow-setup doctor.": "Look with {} doctor.",
    "`gaiaflow-setup mlops --start`, or `gaiaflow-setup open airflow`": "`{} mlops --start`, or `{} open airflow`",
    "This is a bug of gaiaflow-setup, please report it.": "This is a bug of gaiaflow-setup, please report it.",
    "gaiaflow-setup has no such thing": "gaiaflow-setup has no such thing",
    "/opt/gaiaflow-setup status": "/opt/gaiaflow-setup status",
    "./gaiaflow-setup status": "./gaiaflow-setup status",
    "gaiaflow-setup status2": "gaiaflow-setup status2",
}


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal, and no such program on the PATH."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("PATH", "/nowhere")
    called._name.cache_clear()


@pytest.mark.parametrize("text", TEXTS)
def test_commands_are_named_as_they_can_be_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert called.as_called(text) == TEXTS[text].format(LAUNCHER, LAUNCHER)


def test_in_the_checkout_it_is_called_by_a_relative_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert called.as_called("gaiaflow-setup status") == "./gaiaflow-setup status"


def test_a_path_with_a_space_is_one_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checkout = tmp_path / "my checkout"
    (checkout / "gaiaflow_py").mkdir(parents=True)
    (checkout / "gaiaflow-setup").touch()
    monkeypatch.setattr(called, "__file__", str(checkout / "gaiaflow_py" / "called.py"))
    monkeypatch.chdir(tmp_path)
    assert called.as_called("gaiaflow-setup status").endswith("/my\\ checkout/gaiaflow-setup status")


def test_an_installed_program_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gaiaflow-setup").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert called.as_called("gaiaflow-setup status") == "gaiaflow-setup status"


def test_without_a_terminal_it_is_named_as_in_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert called.as_called("gaiaflow-setup status") == "gaiaflow-setup status"


def test_where_the_working_directory_is_gone_it_is_called_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert called.as_called("gaiaflow-setup status") == f"{LAUNCHER} status"


def test_help_and_errors_name_it_as_it_can_be_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.chdir(CHECKOUT)
    assert cli.run(["status", "--nope"]) == 2
    said = capsys.readouterr().err
    assert "Usage: ./gaiaflow-setup status" in said and "Try './gaiaflow-setup status --help' for help" in said
    assert cli.run(["--help"]) == 0
    assert "Usage: ./gaiaflow-setup [OPTIONS]" in capsys.readouterr().out
    assert options.example_text("status --json").endswith("  ./gaiaflow-setup status --json")
