"""Finds the programs of the stack on this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from decahertz.app.stack.settings import StackSettings
from decahertz.app.start_error import StartError
from decahertz.settings import SettingsError

_NOWHERE = Path()
_INSTALL = "apt-get install prometheus prometheus-alertmanager"
_GRAFANA = ("/usr/share/grafana/bin/grafana", "grafana", "grafana-server")
"""The package's own programs first: those on PATH are scripts that start them."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths."""

    prometheus: Path
    alertmanager: Path
    grafana: Path | None
    """``None``: there is none."""


def find_programs(settings: StackSettings) -> Programs:
    """Finds all programs.

    Raises :class:`~decahertz.app.start_error.StartError` if Prometheus or Alertmanager is missing, and
    :class:`~decahertz.settings.SettingsError` if the program of a setting cannot be executed.
    """
    return Programs(
        _required("prometheus", settings.prometheus_program, "prometheus"),
        # Debian calls it prometheus-alertmanager.
        _required("alertmanager", settings.alertmanager_program, "prometheus-alertmanager", "alertmanager"),
        _found("grafana", settings.grafana_program, *_GRAFANA),
    )


def _required(name: str, chosen: Path, *candidates: str) -> Path:
    program = _found(name, chosen, *candidates)
    if program is None:
        raise StartError(
            f"{candidates[0]} is not installed: run `{_INSTALL}`, or set stack.{name}_program to the program"
        )
    return program


def _found(name: str, chosen: Path, *candidates: str) -> Path | None:
    if chosen != _NOWHERE:
        program = shutil.which(chosen)
        if program is None:
            raise SettingsError(f"stack.{name}_program", f"{chosen} is not found or not executable")
        return Path(program).absolute()
    found = (shutil.which(candidate) for candidate in candidates)
    return next((Path(program).absolute() for program in found if program), None)
