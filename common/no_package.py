"""The build backend that pyproject.toml names. It refuses, because `pip install .` would copy an incomplete program."""

raise SystemExit(
    "attention-reproductions is no package to install but is used from its checkout, whose commit every result names: "
    "./reproduce.sh installs what it needs, and from other folders PYTHONPATH=CHECKOUT python -m papers.PAPER works"
)
