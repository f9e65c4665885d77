"""
Read the topics of a taxonomy: one YAML file for each topic, its name is the slug.

    names: {en: Sanctions, ru: Санкции}
    mediatopic: medtop:20000642          # IPTC Media Topic, where one exists
    threshold: 6                         # points; the scale is explained in stages/topics.py
    damped-by: {sport: 1.0}              # take that share of the other topic's points off
    hidden: true                         # never a tag: a context that only damps others
    terms: {en: {5: [economic sanctions], 3: [embargo*], -2: [referee*]}, und: {3: [UNSC]}}
    not: {en: [sanctioned by the board]} # this text says nothing for this topic
    near: {en: [{weight: 4, within: 30, words: [[ban*, bar*], [export*]]}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from worker.edges import yaml_file
from worker.edges.yaml_file import Document, Fault, FileFaults
from worker.ninjs import TopicName
from worker.stages.topics import Group, Term, TopicRule, TopicRules

MEDIA_TOPIC_URI = "http://cv.iptc.org/newscodes/mediatopic/"
MAX_WEIGHT = 5
_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_KEYS = {"names", "mediatopic", "threshold", "damped-by", "hidden", "terms", "not", "near"}
_DEFAULT_THRESHOLD = 7.0
_DEFAULT_WITHIN = {"zh": 12, "ja": 14, "ko": 20}
"""Characters between the words of a group where the file does not say; 45 in spaced scripts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicData:
    """The topics of all folders together."""

    rules: TopicRules
    names: Mapping[str, TopicName]
    """By slug; hidden ones left out."""


class _Near(msgspec.Struct, forbid_unknown_fields=True):
    weight: float
    words: list[list[str]]
    within: int | None = None


def load_topics(folders: list[Path]) -> TopicData:
    """
    Read `topics/*.yaml` of each folder; a file in a later folder stands for one of the same name before it.

    `topics.<slug>.yaml` beside them is the same: the keys of a ConfigMap know no slash.

    Raises: FileFaults: with every fault of every file.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        files.update({path.stem: path for path in sorted((folder / "topics").glob("*.yaml"))})
        flat = sorted(folder.glob("topics.*.yaml"))
        files.update({path.stem.removeprefix("topics."): path for path in flat})
    faults: list[Fault] = []
    rules: list[TopicRule] = []
    names: dict[str, TopicName] = {}
    for slug, path in sorted(files.items()):
        try:
            document = yaml_file.read(path)
        except FileFaults as error:
            faults += error.faults
            continue
        rule, name = _topic(slug, document)
        for other in rule.damped_by.keys() - files.keys():
            document.fault(f"damped-by: there is no topic {other!r}", "damped-by", other)
        faults += document.faults
        rules.append(rule)
        if not rule.hidden:
            names[slug] = name
    simplified: dict[int, int] = {}
    for table in (folder / "han.yaml" for folder in folders if (folder / "han.yaml").exists()):
        try:
            simplified |= _simplified(yaml_file.read(table))
        except FileFaults as error:
            faults += error.faults
    if faults:
        raise FileFaults(faults)
    return TopicData(rules=TopicRules(topics=tuple(rules), simplified=simplified), names=names)


def _topic(slug: str, document: Document) -> tuple[TopicRule, TopicName]:
    """Read one file; what is wrong in it is noted in the document."""
    document.unknown(_KEYS)
    if not _SLUG.fullmatch(slug):
        document.fault(f"the file's name {slug!r} is no slug: letters a-z, digits, single hyphens")
    names = document.take(dict[str, str], "names") or {}
    if names and "en" not in names:
        document.fault("names: the English name (en) is missing", "names")
    code = _optional(document, str, "mediatopic")
    if code is not None and not re.fullmatch(r"medtop:\d{8}", code):
        document.fault(f"mediatopic: {code!r} is not like medtop:20000642", "mediatopic")
    threshold = _optional(document, float, "threshold")
    if threshold is not None and threshold <= 0:
        document.fault("threshold: must be above 0", "threshold")
    counters: dict[str, int] = {}
    terms = _terms(slug, document, counters)
    for language, words in (_optional(document, dict[str, list[str]], "not") or {}).items():
        silent = [
            Term(text=word, weight=0, rule=_rule(slug, language, counters))
            for number, word in enumerate(words)
            if _is_term(document, word, "not", language, number)
        ]
        terms[language] = (*terms.get(language, ()), *silent)
    groups = _groups(slug, document, counters)
    if not terms and not groups:
        document.fault("a topic needs terms or near groups", "terms")
    rule = TopicRule(
        slug=slug,
        threshold=threshold or _DEFAULT_THRESHOLD,
        terms=terms,
        groups=groups,
        hidden=_optional(document, bool, "hidden") or False,
        damped_by=_optional(document, dict[str, float], "damped-by") or {},
    )
    uri = None if code is None else MEDIA_TOPIC_URI + code.removeprefix("medtop:")
    return rule, TopicName(name=names.get("en", slug), uri=uri)


def _optional(document: Document, kind: Any, *key: str) -> Any:
    """Return the value at *key* as *kind*; None when it is not there."""
    return None if document.get(*key) is None else document.take(kind, *key)


def _rule(slug: str, language: str, counters: dict[str, int]) -> str:
    counters[language] = counters.get(language, 0) + 1
    return f"{slug}.{language}.{counters[language]}"


def _is_term(document: Document, word: str, *key: str | int) -> bool:
    """Tell whether *word* can be looked for; note a fault if not."""
    if not word.strip() or word.lstrip().startswith("*"):
        document.fault(f"{word!r} is no term: it must begin with a letter", *key)
        return False
    return True


def _terms(slug: str, document: Document, counters: dict[str, int]) -> dict[str, tuple[Term, ...]]:
    by_language: dict[str, tuple[Term, ...]] = {}
    for language, weights in (_optional(document, dict[str, dict[float, list[str]]], "terms") or {}).items():
        terms: list[Term] = []
        for weight, words in weights.items():
            key = ("terms", language, f"{weight:g}")
            if weight == 0 or abs(weight) > MAX_WEIGHT:
                document.fault(f"weight {weight:g}: must lie between -{MAX_WEIGHT} and {MAX_WEIGHT}, not 0", *key)
            terms += [
                Term(text=word, weight=weight, rule=_rule(slug, language, counters))
                for number, word in enumerate(words)
                if _is_term(document, word, *key, number)
            ]
        by_language[language] = tuple(terms)
    return by_language


def _groups(slug: str, document: Document, counters: dict[str, int]) -> dict[str, tuple[Group, ...]]:
    by_language: dict[str, tuple[Group, ...]] = {}
    for language, groups in (_optional(document, dict[str, list[_Near]], "near") or {}).items():
        made: list[Group] = []
        for number, group in enumerate(groups):
            key = ("near", language, number)
            if len(group.words) < 2 or not all(group.words):
                document.fault("words: two lists or more, none of them empty", *key)
            if not 0 < group.weight <= MAX_WEIGHT:
                document.fault(f"weight {group.weight:g}: must lie above 0, at most {MAX_WEIGHT}", *key)
            slots = tuple(
                tuple(word for word in words if _is_term(document, word, *key, "words")) for words in group.words
            )
            within = group.within or _DEFAULT_WITHIN.get(language, 45)
            made.append(Group(slots=slots, weight=group.weight, within=within, rule=_rule(slug, language, counters)))
        by_language[language] = tuple(made)
    return by_language


def _simplified(document: Document) -> dict[int, int]:
    """Return the table of `han.yaml`."""
    old = (document.take(str, "traditional") or "").replace(" ", "")
    new = (document.take(str, "simplified") or "").replace(" ", "")
    if len(old) != len(new):
        document.fault(f"traditional has {len(old)} characters, simplified {len(new)}", "simplified")
    document.check()
    return {ord(a): ord(b) for a, b in zip(old, new, strict=True)}
