"""The data files of regions are read whole, or refused with file, line and reason."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.support.tagging import TAXONOMY, article
from worker.edges.region_data import load_regions
from worker.edges.yaml_file import FileFaults
from worker.stages.regions import tag_regions
from worker.toponyms import Gazetteer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a user's copy of the shipped files."""
    for name in ("countries.yaml", "phrases.yaml", "pairs.yaml", "names.tsv", "places.tsv.gz"):
        shutil.copy(TAXONOMY / name, tmp_path / name)
    return tmp_path


def test_every_country_has_a_name_in_each_of_the_five_languages() -> None:
    rules, _ = load_regions(TAXONOMY)
    by_language: dict[str, set[str]] = {}
    for alias in rules.aliases:
        by_language.setdefault(alias.rule.partition(".")[2], set()).update(alias.codes)
    for language in ("en", "zh", "ko", "ja", "ru"):
        missing = by_language["en"] - by_language[language] if language != "en" else set()
        assert len(missing) <= 12, (language, sorted(missing))
    assert len(by_language["en"]) >= 249


def test_a_users_file_adds_names(folder: Path) -> None:
    (folder / "regions.d").mkdir()
    (folder / "regions.d" / "mine.yaml").write_text('NZ:\n  en:\n    metonym: "The Beehive"\n', encoding="utf-8")
    gazetteer = Gazetteer(load_regions(folder)[0])
    result = tag_regions(article("A quarrel in The Beehive."), gazetteer)
    assert [tag.code for tag in result.regions] == ["NZ"]


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("countries.yaml", "\nCN:\n", "\nChina:\n", "'China' is not an ISO 3166-1"),
        ("countries.yaml", "\n    leader:", "\n    boss:", "unknown key 'boss'"),
        ("pairs.yaml", "  CN-KP:", "  CNKP:", "'CNKP' is not a pair"),
        ("phrases.yaml", 'before: "New ', 'before: "(New ', "not a regular expression"),
        ("phrases.yaml", 'before: "New ', 'before: "(?i)New ', "not a regular expression"),
    ],
)
def test_a_fault_is_told_with_file_and_line(folder: Path, file: str, old: str, new: str, reason: str) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1 + old.startswith("\n")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FileFaults) as caught:
        load_regions(folder)
    assert any(fault.line == line and reason in fault.reason for fault in caught.value.faults), caught.value


def test_loading_and_compiling_is_quick_enough_to_reload_while_running() -> None:
    start = time.process_time()
    Gazetteer(load_regions(TAXONOMY)[0])
    assert time.process_time() - start < 3.0
