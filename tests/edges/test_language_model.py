"""The language model is there without any disk to write to, and once, however many ask for it."""

from __future__ import annotations

import subprocess
import sys

from tests.support.installation import ROOT

NO_TEMPORARY_FOLDER = """
import tempfile
def none():
    raise FileNotFoundError("No usable temporary directory found")
tempfile._get_default_tempdir = none
from worker.edges.language_model import classify
print(classify("The council met on Monday and adjourned.")[0])
"""

TWO_AT_ONCE = """
from worker.edges import language_model
language_model.prefetch()
print(language_model.classify("The council met on Monday and adjourned.")[0], language_model._load.cache_info().misses)
"""


def test_it_is_loaded_where_no_folder_can_be_written_to() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", NO_TEMPORARY_FOLDER], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("en\n", "")


def test_a_text_that_comes_while_it_is_fetched_waits_for_it() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("en 1\n", "")
