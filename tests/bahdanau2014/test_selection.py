"""The committed selection on Europarl: its page is current, and it is the selection that §4.1's recipe makes of it."""

from __future__ import annotations

import json

import pytest

from common.errors import UserError
from papers.bahdanau2014 import selection
from papers.bahdanau2014.paper import PAPER


def test_the_page_is_current() -> None:
    command = "python -m papers.bahdanau2014.selection page"
    assert selection.PAGE.read_text(encoding="utf-8") == selection.page(selection.RESULT), f"run: {command}"


@pytest.mark.parametrize("words", [["data.shares=[]"], ["--workers", "1", "data.shares=[]"], ["all"]])
def test_a_field_that_the_page_does_not_tell_is_refused(words, tmp_path, capsys) -> None:
    """Options may stand before the words. The committed result stays."""
    before = selection.RESULT.read_bytes()
    assert selection.main(["measure", "--runs", str(tmp_path), *words]) == 2
    assert f"{words[-1]}: only data.corpus=FILE can be given" in capsys.readouterr().err
    assert selection.RESULT.read_bytes() == before and not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "damage, told",
    [
        (lambda text: text[:100], "missing or damaged"),
        (lambda text: "{}", "missing key `selection.environment`"),
        (lambda text: changed(text, steps=[]), "`steps` has no `check selection`"),
        (lambda text: changed(text, data={}), "the prepared corpus has no shares"),
        (lambda text: changed(text, selection=None), "`selection` must be a mapping"),
    ],
)
def test_a_damaged_result_is_refused_in_one_line(damage, told, tmp_path):
    path = tmp_path / "selection.json"
    path.write_text(damage(selection.RESULT.read_text(encoding="utf-8")))
    with pytest.raises(UserError, match=rf"{path}: .*{told}.*get it from the repository again, or `measure`$"):
        selection.page(path)


def changed(text: str, **fields: object) -> str:
    """The result with other fields, of its data if they are there."""
    values = json.loads(text)
    own = {key: value for key, value in fields.items() if key in values}
    return json.dumps({**values, "data": {**values["data"], **(fields if not own else {})}, **own})


def test_page_takes_no_words(capsys):
    assert selection.main(["page", "train.foo=3"]) == 2
    assert "train.foo=3: `page` takes no more words" in capsys.readouterr().err


def test_the_result_is_of_the_papers_share_and_development_sets() -> None:
    """All of the recipe's in-domain text but News Commentary, and its share of Europarl."""
    recipe = PAPER.recipe("rnnsearch-50", [])
    data = json.loads(selection.RESULT.read_text(encoding="utf-8"))["data"]
    part, *in_domain = data["data"]["parts"]
    assert {*recipe.data.in_domain} - {*in_domain} == {"news-commentary-v9"} and {*in_domain} < {*recipe.data.in_domain}
    share = dict(zip(recipe.data.parts, recipe.data.shares, strict=True))[part]
    assert data["data"]["shares"] == [share, 1, 1, 1, 1]
    check = data["selection"]
    assert tuple(check["sets"]) == recipe.data.valid
    assert check["selected"]["pairs"] == round(share * check["whole"]["pairs"])
    assert data["text"] == {**data["text"], "tokeniser": recipe.text.tokeniser, "lowercase": recipe.text.lowercase}
