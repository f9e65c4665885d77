"""
Load the taxonomy: the shipped files of worker/taxonomy/, and over them those of a user's folder with the same names.

In the user's folder `topics/<slug>.yaml` (or `topics.<slug>.yaml`) adds a topic or stands for the shipped one,
`routes.yaml` adds routes or replaces those of the same name; for regions and pairs see edges/region_data.py.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import worker
from worker.edges.region_data import load_regions
from worker.edges.route_data import KnownNames, load_routes
from worker.edges.topic_data import load_topics
from worker.edges.yaml_file import Fault, FileFaults
from worker.ninjs import Vocabulary
from worker.ruleset import Taxonomy
from worker.stages.topics import TopicIndex
from worker.toponyms import Gazetteer

SHIPPED = Path(worker.__file__).parent / "taxonomy"
GARBAGE = 5_000
"""So many objects that could be in a cycle must be new before the garbage collector looks for cycles."""
T = TypeVar("T")


def load_taxonomy(folder: Path | None = None) -> Taxonomy:
    """
    Return the compiled taxonomy, with the rules of the user's *folder* if one is given.

    Raises: FileFaults: with every fault that was found, by file and line; nothing is loaded then.
    """
    # A quarter of a million objects that live as long as the process: the garbage collector need not walk them while
    # they are made (a fifth of the time), nor ever after. What a batch makes is freed without it.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _load(folder)
    finally:
        gc.freeze()
        gc.set_threshold(GARBAGE)
        if collecting:
            gc.enable()


def _load(folder: Path | None) -> Taxonomy:
    faults: list[Fault] = []

    def gather(load: Callable[[], T]) -> T | None:
        try:
            return load()
        except FileFaults as error:
            faults.extend(error.faults)
            return None

    if folder is not None and not folder.is_dir():
        raise FileFaults([Fault(file=str(folder), line=0, reason="no such folder")])
    folders = [SHIPPED] if folder is None else [SHIPPED, folder]
    topics = gather(lambda: load_topics(folders))
    regions = gather(lambda: load_regions(SHIPPED, folder))
    if topics is not None and regions is not None:
        countries = _country_names()
        codes = {code for alias in regions[0].aliases for code in alias.codes}
        known = KnownNames(topics=topics.names.keys(), regions=codes)
        routes = gather(lambda: load_routes(folders, known))
        if routes is not None:
            version = taxonomy_version(folder)
            return Taxonomy(
                version=version,
                gazetteer=Gazetteer(regions[0]),
                pairs=regions[1],
                topics=TopicIndex(topics.rules),
                routes=routes,
                vocabulary=Vocabulary(version=version, countries=countries, topics=topics.names),
            )
    raise FileFaults(faults)


def _country_names() -> dict[str, str]:
    """Return the English name by ISO 3166-1 alpha-2 code, the first one where the list has several."""
    names: dict[str, str] = {}
    for line in (SHIPPED / "names.tsv").read_text(encoding="utf-8").splitlines():
        code, language, name = line.split("\t")
        if language == "en":
            names.setdefault(code, name)
    return names


def taxonomy_version(folder: Path | None) -> str:
    """Return the shipped version, and `+` ten hex digits over the user's files, by name and content."""
    version = (SHIPPED / "VERSION").read_text(encoding="ascii").strip()
    if folder is None:
        return version
    digest = hashlib.sha256()
    # Not rglob: a ConfigMap is mounted as links into a hidden folder that is named after the time.
    for path in sorted(path for where in (".", "topics", "regions.d") for path in (folder / where).glob("*.yaml")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return f"{version}+{digest.hexdigest()[:10]}"
