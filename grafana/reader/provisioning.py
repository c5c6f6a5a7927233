"""Reads the provisioning files: data sources and dashboard providers, with environment variables expanded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from grafana.reader.dashboard import Dashboard

_VARIABLE = re.compile(r"\$__env\{([^}]*)\}|\$\{(\w+)\}|\$(?!__)(\w+)")
_FILE = re.compile(r"\$__file\{([^}]*)\}")


class ProvisioningError(Exception):
    """Raised for provisioning that Grafana would refuse or that would provide nothing."""


@dataclass(frozen=True)
class DataSource:
    """A provisioned data source."""

    name: str
    uid: str
    type: str
    url: str
    user: str = ""
    json_data: Mapping[str, Any] = field(default_factory=dict)
    secure_json_data: Mapping[str, str] = field(default_factory=dict)

    @property
    def min_interval(self) -> str:
        """The smallest step of its queries, with Grafana's default for the type."""
        return self.json_data.get("timeInterval") or ("15s" if self.type == "prometheus" else "1m")


class Provisioning:
    """A provisioning folder.

    ``environment`` is that of Grafana; ``read_file`` reads what ``$__file{…}`` names.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], read_file: Callable[[str], str] | None = None
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._read_file = read_file or (lambda path: Path(path).read_text(encoding="utf-8"))

    def data_sources(self) -> dict[str, DataSource]:
        """The data sources by uid."""
        sources: dict[str, DataSource] = {}
        for document in self._documents("datasources"):
            for item in document.get("datasources") or ():
                source = DataSource(
                    name=item["name"],
                    uid=item["uid"],
                    type=item["type"],
                    url=item["url"],
                    user=item.get("user", ""),
                    json_data=item.get("jsonData", {}),
                    secure_json_data=item.get("secureJsonData", {}),
                )
                if source.uid in sources:
                    raise ProvisioningError(f"two data sources have the uid {source.uid}")
                sources[source.uid] = source
        return sources

    def dashboard_folders(self) -> list[str]:
        """The folders that the dashboard providers read."""
        found = []
        for document in self._documents("dashboards"):
            for provider in document.get("providers") or ():
                if provider.get("type", "file") != "file":
                    raise ProvisioningError(f"provider {provider['name']} reads no files")
                found.append(str(provider["options"]["path"]))
        return found

    def _documents(self, kind: str) -> Iterator[dict[str, Any]]:
        for path in sorted((self._folder / kind).glob("*.y*ml")):
            document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if document.get("apiVersion") != 1:
                raise ProvisioningError(f"{path}: apiVersion has to be 1")
            yield self._expanded(document)

    def _expanded(self, value: Any) -> Any:  # noqa: ANN401 - any YAML
        if isinstance(value, dict):
            return {key: self._expanded(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._expanded(one) for one in value]
        if not isinstance(value, str):
            return value
        with_variables = _VARIABLE.sub(self._variable, value)
        return _FILE.sub(lambda match: self._read_file(match[1]).strip(), with_variables)

    def _variable(self, match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3]
        if name not in self._environment:
            raise ProvisioningError(f"the environment variable {name} is not set")
        return self._environment[name]


def read_dashboards(folder: Path) -> dict[str, Dashboard]:
    """The dashboards in a folder and the folders below it, by file name; all keys and types are checked."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        try:
            found[path.name] = msgspec.json.decode(path.read_bytes(), type=Dashboard)
        except msgspec.DecodeError as error:
            raise ProvisioningError(f"{path}: {error}") from error
    return found
