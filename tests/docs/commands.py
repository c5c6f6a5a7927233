"""Runs what the documentation tells a reader to type."""

from __future__ import annotations

import re
import shlex
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "collectors",
    "storage",
    "exporter",
    "control",
    "providers",
    "api",
    "client",
    "grafana",
    "prometheus",
)
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *(page for name in PACKAGES for page in (ROOT / name).glob("**/README.md")),
    ],
)
ELSEWHERE = ("sudo ", "systemctl ", "journalctl ", "docker compose ", "git pull")
"""Commands that change the machine or need one with containers: tests/deploy/test_deploy_page.py has them."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The commands of a shell block, continued lines joined, comments and prompts left out."""
        joined = self.text.replace("\\\n", " ")
        lines = (line.strip().removeprefix("$ ") for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks(language: str) -> list[Block]:
    """All blocks of a language in all pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(str(page.relative_to(ROOT)), line, language, match[1]))
    return found


@dataclass
class Curl:
    """The request of a ``curl`` command line, with the options that the documentation uses."""

    url: str = ""
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes | None = None

    @classmethod
    def parse(cls, command: str) -> Curl:
        """Understand a command line; a ``ValueError`` names what is not understood."""
        made = cls()
        words = iter(shlex.split(command)[1:])
        for word in words:
            if word in ("-s", "-i", "-N", "-f", "--compressed"):
                continue
            if word in ("-H", "--header"):
                name, _, value = next(words).partition(":")
                made.headers[name] = value.strip()
            elif word in ("-X", "--request"):
                made.method = next(words)
            elif word in ("-d", "--data", "--data-binary"):
                made.data = next(words).encode()
            elif word.startswith("http://127.0.0.1:"):
                made.url = word
            else:
                raise ValueError(f"{word!r} in: {command}")
        return made

    def send(self) -> tuple[int, bytes]:
        """Status and body of the answer."""
        request = urllib.request.Request(  # noqa: S310 - parse lets only this machine through
            self.url,
            data=self.data,
            headers=self.headers,
            method=self.method or None,
        )
        with urllib.request.urlopen(request, timeout=40) as answer:  # noqa: S310 - as above
            return answer.status, answer.read()
