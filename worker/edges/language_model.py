"""
Load py3langid's model, once in a process, when the first text needs it (0.5 s, 100 MB; for a moment 200 MB).

Or beforehand in the background: half of it is unpacking, during which Python can do other things.
"""

from __future__ import annotations

import contextlib
import io
import threading
from functools import cache
from typing import Any

from worker.stages.language import LANGUAGES


class _InMemory:
    """Stands in for `tempfile`: the library unpacks its model there, and a worker may have no disk to write to."""

    @staticmethod
    def TemporaryFile(**_: str) -> io.BytesIO:  # noqa: N802  (the module's name)
        return io.BytesIO()


_one_at_a_time = threading.Lock()


def prefetch() -> None:
    """Begin to load the model; whoever needs it before it is there waits."""

    def load() -> None:
        with contextlib.suppress(Exception):  # it fails again, and is told, where the model is needed
            _identifier()

    threading.Thread(target=load, name="language model", daemon=True).start()


def _identifier() -> Any:
    with _one_at_a_time:
        return _load()


@cache
def _load() -> Any:
    from py3langid import modelio  # noqa: PLC0415  (numpy and the model: only if asked)
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    modelio.tempfile = _InMemory
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def classify(text: str) -> tuple[str, float]:
    """Return (ISO 639-1 code, probability 0-1)."""
    language, probability = _identifier().classify(text)
    return str(language), float(probability)
