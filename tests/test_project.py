"""The shell of the project says the truth: commands, versions, examples, documents."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import feedparser
import jsonschema
import pytest

import worker
from worker.edges import feed_list, feeds, settings_file
from worker.edges.feed_settings import NAMES
from worker.edges.process import ExitCode
from worker.polling import ParsedFeed
from worker.schema import schemas
from worker.settings import Settings
from worker.stages.schedule import new_and_changed

ROOT = Path(__file__).parent.parent
TEN_YEARS_S = 10 * 365 * 86_400
LANGUAGES = {"en", "zh", "ko", "ja", "ru"}


def tracked() -> list[Path]:
    """Return the files that a checkout has (or would have)."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for name in names if (path := ROOT / name).is_file()]


def make_targets() -> dict[str, str]:
    """Return the help of each phony target of the Makefile, empty where there is none."""
    text = (ROOT / "Makefile").read_text("utf-8")
    names = " ".join(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)).split()
    helps = dict(re.findall(r"^([a-z-]+):[^#\n]*## (.+)$", text, re.MULTILINE))
    return {name: helps.get(name, "") for name in names}


def example_stories() -> Iterator[tuple[str, str, str]]:
    """Yield (file name, link, title) of each entry in the example feeds."""
    for path in sorted((ROOT / "examples/feeds").iterdir()):
        if path.suffix == ".json":
            for item in json.loads(path.read_text("utf-8"))["items"]:
                yield path.name, item["url"], item["title"]
        else:
            for entry in feedparser.parse(io.BytesIO(path.read_bytes())).entries:
                yield path.name, entry.link, entry.title


def test_every_make_target_has_help() -> None:
    targets = make_targets()
    assert {"help", "setup", "run", "test", "check", "bench", "quality", "kafka", "lock", "clean"} <= targets.keys()
    assert [name for name, text in targets.items() if not text] == []


def test_make_alone_lists_the_targets() -> None:
    shown = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory"], check=True, capture_output=True, text=True
    )
    for name, text in make_targets().items():
        assert re.search(rf"^ *make {name} +{re.escape(text)}$", shown.stdout, re.MULTILINE), name


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/operations.md", ".ci/run"])
def test_documents_name_only_commands_that_exist(document: str) -> None:
    """A word after `make` at a line's start or in code is a target."""
    text = (ROOT / document).read_text("utf-8")
    named = set(re.findall(r"(?:^ +|`|step )make ([a-z-]+)", text, re.MULTILINE))
    assert named, "names no command at all"
    assert named <= make_targets().keys()


def test_the_readme_has_the_two_commands_and_fits_one_screen() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.search(r"^    make run\b", text, re.MULTILINE)
    assert re.search(r"^    make test\b", text, re.MULTILINE)
    assert len(text.splitlines()) <= 50


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/records.md", "docs/subscribe.md"]
)
def test_links_within_the_project_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = [link for link in re.findall(r"\]\(([^)]+)\)", path.read_text("utf-8")) if not urlsplit(link).scheme]
    assert [link for link in links if not (path.parent / link.partition("#")[0]).exists()] == []


def test_the_newest_entry_of_the_changelog_is_the_version_of_the_package() -> None:
    newest = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == worker.__version__


def test_no_file_names_a_path_of_a_machine() -> None:
    machine = re.compile(rb"(?<![\w.])/(?:home|root|Users|work)/\w|pyenv")
    found = [str(path.relative_to(ROOT)) for path in tracked() if machine.search(path.read_bytes())]
    assert [name for name in found if name != "tests/test_project.py"] == []


def test_lock_files_pin_every_package_by_hash_and_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-build.lock"):
        lines = (ROOT / name).read_text("utf-8").splitlines()
        assert [line for line in lines if not re.match(r"( +(--hash=sha256:|#)|[a-z0-9-]+(\[.*\])?==)", line)] == []
        assert sum("==" in line and not line.startswith(" ") for line in lines) > 0


def test_the_runtime_lock_is_a_part_of_the_development_lock() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / name).read_text("utf-8"), re.MULTILINE))

    assert pins("requirements.lock") < pins("requirements-dev.lock")


def test_the_feed_list_has_forty_feeds_in_the_five_languages() -> None:
    remote = [feed for feed in feed_list.read(ROOT / "examples/feeds.opml") if feed.url]
    assert len(remote) >= 40
    assert {(feed.language or "").partition("-")[0] for feed in remote} == LANGUAGES
    assert all(feed.title for feed in remote)


def test_the_feed_list_names_each_local_feed_document_and_takes_its_old_entries() -> None:
    local = [feed for feed in feed_list.read(ROOT / "examples/feeds.opml") if feed.path]
    assert {feed.path for feed in local} == set((ROOT / "examples/feeds").resolve().iterdir())
    assert all(feed.limits.first_age_s > TEN_YEARS_S for feed in local)


def test_the_page_on_operations_names_every_setting_of_a_feed_and_every_exit_code() -> None:
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []
    assert [code for code in ExitCode if f"\n| {code.value} | " not in page] == []


def test_the_example_feeds_hold_thirty_stories_in_rss_atom_rdf_and_json() -> None:
    stories = list(example_stories())
    assert len({link for _, link, _ in stories}) >= 30
    assert len({name for name, _, _ in stories}) >= 5
    assert {Path(name).suffix for name, _, _ in stories} >= {".rss", ".atom", ".rdf", ".json"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hangang-ilbo.xml", "북한 노동자"),
        ("severny-vestnik.xml", "северокорейских рабочих"),
        ("jianghe.json", "朝鲜工人"),
    ],
)
def test_example_feeds_in_other_charsets_read_well(name: str, words: str) -> None:
    assert any(words in title for file, _, title in example_stories() if file == name)


def test_one_example_feed_lists_a_story_in_two_revisions_which_the_poller_both_takes() -> None:
    """The paper gives each revision an id of its own under one link, so the judge sees an update."""
    body = (ROOT / "examples/feeds/harbour-post.atom").read_bytes()
    now = datetime.now(UTC)
    parsed = feeds.parse(body, content_type="", base_url=None, now=now)
    assert isinstance(parsed, ParsedFeed)
    taken = [entry.link for entry in new_and_changed("", parsed.entries, now=now).entries]
    assert len(taken) == len(set(taken)) + 1


def test_pipe_examples_hold_copies_and_updates_in_the_short_form() -> None:
    lines = (ROOT / "examples/pipe/stories.jsonl").read_text("utf-8").splitlines()
    stories: list[dict[str, str]] = [json.loads(line) for line in lines]
    assert all(
        set(story) <= {"id", "title", "text", "html", "url", "published", "language", "feed"} for story in stories
    )
    urls = [story["url"] for story in stories if "url" in story]
    assert len(set(urls)) < len(urls)
    assert {story["language"] for story in stories if "language" in story} == LANGUAGES


def test_the_example_producer_writes_what_the_raw_schema_allows() -> None:
    code = (
        "import json, runpy, datetime as d; example = runpy.run_path('examples/produce_raw.py');"
        "key, value = example['raw_record'](example['ARTICLE'], now=d.datetime.now(d.UTC));"
        "print(json.dumps([key.decode(), json.loads(value)]))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    key, value = json.loads(shown.stdout)
    jsonschema.validate(value, schemas()["raw"])
    assert value["story"] == key


def test_the_example_settings_are_the_defaults_and_name_every_setting() -> None:
    path = ROOT / "examples/config.yaml"
    assert settings_file.load(path, environ={}).settings == Settings()
    text = path.read_text("utf-8")
    named = [settings_file.file_name(name) for _, name in settings_file.HINTS]
    assert [name for name in named if not re.search(rf"^  (# )?{name}:", text, re.MULTILINE)] == []


def test_the_page_on_records_names_every_field_of_every_schema() -> None:
    """Fields of ninjs that we do not write are IPTC's to describe."""
    page = (ROOT / "docs/records.md").read_text("utf-8")
    missing = []
    for topic, schema in schemas().items():
        ours = {name: part for name, part in schema["$defs"].items() if not name.startswith("http")}
        parts: list[Any] = [schema, *ours.values()]
        missing += [
            f"{topic}.{name}" for part in parts for name in part.get("properties", {}) if f"`{name}`" not in page
        ]
    assert missing == []
