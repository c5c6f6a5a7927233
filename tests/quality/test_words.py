"""The glossary is kept: words that it refuses come back neither into identifiers nor into prose."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = (
    "decahertz",
    "collectors",
    "storage",
    "exporter",
    "control",
    "providers",
    "api",
    "client",
    "benchmarks",
    "examples",
    "scripts",
)
SOURCES = sorted(
    path for name in PRODUCT for path in (ROOT / name).rglob("*.py") if "build" not in path.parts
)
FOLDERS = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
PAGES = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(page for folder in FOLDERS for page in folder.rglob("README.md")),
    )
    if path.name != "glossary.md"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_OPENING = re.compile(r"(?:^|[.:] +)(?:What|Whoever|So many)\b[^.?:]*[.:]", re.DOTALL)
"""A sentence with one of these at its start that is no question."""

_IMPERATIVE = re.compile(
    r"(?:Add|Apply|Ask|Begin|Build|Cancel|Collect|Compute|Connect|Convert|Create|Decode|Delete|Draw|Drop|Emit"
    r"|Encode|Evaluate|Execute|Fill|Find|Forget|Give|Keep|Let|Load|Make|Move|Parse|Put|Raise|Read|Receive|Refuse"
    r"|Register|Remove|Renew|Replace|Restore|Return|Save|Send|Store|Submit|Subscribe|Take|Tell|Update|Validate"
    r"|Wait|Write|Yield)\b"
)
"""Verbs that are no nouns. A docstring says what a function does, and a command's help what to do."""


@cache
def refused() -> re.Pattern[str]:
    """The words and phrases that the glossary sets in code in the last column of its tables."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms, _, words = text.partition("## Words that this project does without")
    cells = [line.split("|")[-2] for line in terms.splitlines() if line.startswith("| ")]
    cells += [line.split("|")[1].partition(",")[0] for line in words.splitlines() if line.startswith("| `")]
    found = {phrase for cell in cells for phrase in re.findall(r"`([^`]+)`", cell)} - {"so many", "what"}
    assert len(found) > 15
    plural = "|".join(rf"{re.escape(phrase)}s?" for phrase in sorted(found))
    return re.compile(rf"\b(?!besides)(?:{plural})\b(?! size)")  # a lot size is the trader's word


def split(identifier: str) -> str:
    """The words of an identifier, in lower case: ``_hand_back`` and ``HandBack`` are ``hand back``."""
    return " ".join(_WORD.findall(identifier)).lower()


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names that a module gives to classes, functions, arguments, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every text that stands as a statement of its own: docstrings, those of attributes too."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, node.value.value


def wrong_in(prose: str) -> list[str]:
    """Refused words and openings of a text; what stands in code is no prose."""
    plain = re.sub(r"```.*?```|``[^`]*``|`[^`]*`|\]\([^)]*\)", "X", prose, flags=re.DOTALL)
    spaced = re.sub(r"\s+", " ", plain)
    openings = [found[0].strip(". ") for found in _OPENING.finditer(spaced)]
    return [found[0] for found in refused().finditer(spaced.lower())] + openings


@pytest.mark.parametrize("package", PRODUCT)
def test_no_identifier_and_no_docstring_has_a_word_or_an_opening_that_is_refused(package: str) -> None:
    wrong = []
    for path in SOURCES:
        if path.is_relative_to(ROOT / package):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found = [(line, name) for line, name in identifiers(tree) if refused().search(split(name))]
            found += [(line, words) for line, text in docstrings(tree) for words in wrong_in(text)]
            wrong += [f"{path.relative_to(ROOT)}:{line} {words}" for line, words in found]
    assert wrong == []


@pytest.mark.parametrize("package", PRODUCT)
def test_docstrings_of_functions_say_what_these_do(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {text[:40]}"
        for path in SOURCES
        if path.is_relative_to(ROOT / package) and path != ROOT / "decahertz" / "app" / "cli.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (text := ast.get_docstring(node)) and _IMPERATIVE.match(text)
    ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_a_word_or_an_opening_that_is_refused(page: Path) -> None:
    wrong = [
        f"{page.relative_to(ROOT)}: {found}"
        for block in re.split(r"\n\s*\n|\n(?=[#|*-])", page.read_text(encoding="utf-8"))
        for found in wrong_in(re.sub(r"^[#*|>\s-]+", "", block))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A lot of rows.", ["lot"]),
        ("The lot size of `lot`.", []),
        ("What a collector returned.", ["What a collector returned"]),
        ("Samples. What waits is kept.", ["What waits is kept"]),
        ("What decides it? The owner.", []),
        ("The keeper hands\nback the entry, and what it holds.", ["keeper"]),
    ],
)
def test_the_check_finds_words_and_openings(text: str, found: list[str]) -> None:
    assert wrong_in(text) == found


def test_the_check_finds_phrases_in_identifiers() -> None:
    assert refused().search(split("_HandBack"))
    assert refused().search(split("hand_back"))
    assert not refused().search(split("LOT_SIZE"))
    assert not refused().search(split("Heartbeat"))
