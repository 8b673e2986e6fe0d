"""CITATION.cff is valid, and it and the README name the two papers alike."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CITATION = yaml.load((ROOT / "CITATION.cff").read_text(encoding="utf-8"), yaml.BaseLoader)
"""As text throughout, years too."""


def test_is_valid_by_the_format_s_own_schema(tmp_path):
    """The schema comes with cffconvert, whose own requirements are too old to install it beside Jupyter."""
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", tmp_path, "cffconvert==2.0.0"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package registry: {done.stderr.strip().splitlines()[-1]}")
    schema = json.loads((tmp_path / "cffconvert/schemas/1.2.0/schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**values, "licence": "MIT"}, schema)


def test_the_readme_cites_the_same_papers():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    entries = re.findall(r"@inproceedings\{\w+,\n(.*?)\n\}", readme, re.DOTALL)
    assert len(entries) == len(CITATION["references"]) == 2
    for entry, reference in zip(entries, CITATION["references"], strict=True):
        found = dict(re.findall(r"(\w+) += \{(.*?)\}", entry, re.DOTALL))
        authors = [f"{author['given-names']} {author['family-names']}" for author in reference["authors"]]
        assert re.split(r"\s+and\s+", found["author"]) == authors
        assert (found["title"], found["year"]) == (reference["title"], reference["year"])
        assert found["booktitle"] == reference["collection-title"]
        assert found["note"] == reference["identifiers"][0]["value"]
