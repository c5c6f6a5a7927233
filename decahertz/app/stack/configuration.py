"""Configuration files of the stack, written at each start from those that are shipped.

::

    DATA_DIR/stack/
        prometheus.yml              copy
        prometheus/                 links to the shipped rules, next to rules of the user's own
            targets/                addresses of the recorder and of Alertmanager
            alerts/
        alertmanager.yml            copy with the recorder's address
        prometheus.log, …
        data/                       what the programs store
"""

from __future__ import annotations

from pathlib import Path

import msgspec

SHIPPED = Path(__file__).resolve().parents[3]
"""Folder of the shipped files: the checkout."""

_RULES = ("prometheus/*.rules.yml", "prometheus/alerts/*.rules.yml")
_COMPOSE_URL = "http://decahertz:8000"


def write_prometheus(folder: Path, targets: dict[str, str]) -> None:
    """Write ``prometheus.yml`` with rules and targets: addresses by name. Rules of the user's own stay."""
    (folder / "prometheus" / "targets").mkdir(parents=True, exist_ok=True)
    (folder / "prometheus" / "alerts").mkdir(exist_ok=True)
    _replace(folder / "prometheus.yml", (SHIPPED / "prometheus.yml").read_bytes())
    for name, address in targets.items():
        content = msgspec.json.encode([{"targets": [address]}])  # which is YAML too
        _replace(folder / "prometheus" / "targets" / f"{name}.yml", content)
    for pattern in _RULES:
        for link in folder.glob(pattern):
            if link.is_symlink():  # of an earlier start: a file that is no longer shipped must go
                link.unlink()
        for file in SHIPPED.glob(pattern):
            link = folder / file.relative_to(SHIPPED)
            if not link.exists():
                link.symlink_to(file)


def write_alertmanager(file: Path, api_url: str) -> None:
    """Write Alertmanager's configuration, which reports to the recorder's API."""
    text = (SHIPPED / "prometheus" / "alertmanager.yml").read_text(encoding="utf-8")
    _replace(file, text.replace(_COMPOSE_URL, api_url).encode())


def _replace(file: Path, content: bytes) -> None:
    """Replace a file in one step: Prometheus may read it at any time."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(file)
