"""YAML files with text for keys, and errors of one line that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from common.errors import UserError
from common.files import utf8_lines, without_mark
from common.typed import BARE_WORDS

NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises for text that it cannot read: ValueError for 2024-99-99, RecursionError for too many brackets."""


def is_path(name: str) -> bool:
    """Return whether the name of a recipe or corpus is the path of a YAML file."""
    return name.endswith((".yaml", ".yml"))


class _Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]
    """Loader of YAML that reads every key as text, as it is written. For example, a set called 2013 is not a number."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping as PyYAML does, with every key as text.

        Raises UserError for a key that is a list, a mapping, a truth value or null, and for a key that comes twice.
        """
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"line {key.start_mark.line + 1:,}: a key is a list or a mapping; write a name")
            where = f"line {key.start_mark.line + 1:,}: the key `{key.value}`"
            kind = key.tag.rpartition(":")[2]
            if kind in ("bool", "null"):
                raise UserError(f"{where} is no name; {BARE_WORDS if kind == 'bool' else 'write one'}")
            if key.value in seen:
                raise UserError(f"{where} comes twice; rename or remove one of them")
            if kind != "merge":
                key.tag = "tag:yaml.org,2002:str"
                seen.add(key.value)
        return node


def read_yaml(path: Path) -> Any:
    """Return the YAML value in `path`, with keys as written.

    Raises UserError if it cannot be read, is not UTF-8 or not YAML.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    text = "\n".join(utf8_lines(without_mark(content, str(path)), str(path)))
    try:
        return yaml.load(text, _Loader)
    except NOT_YAML as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML: {why}; correct the file") from None
    except UserError as error:
        raise UserError(f"{path}, {error}") from None
