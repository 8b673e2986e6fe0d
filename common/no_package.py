"""The build backend that pyproject.toml names. It refuses: what `pip install .` could copy would not be whole."""

raise SystemExit(
    "attention-reproductions is no package to install but is used from its checkout, whose commit every result names: "
    "./reproduce.sh installs what it needs, and from other folders PYTHONPATH=CHECKOUT python -m papers.PAPER works"
)
