"""The builtin corpus: golden trees worked out by hand, and rules checked on samples by other means."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from sacremoses import MosesTokenizer

from common.demo import builtin
from common.demo.builtin import Sampler, Triple, build_splits, count_words, generate
from common.demo.builtin_grammar import (
    Clause,
    Coordination,
    Gap,
    NamePhrase,
    NounPhrase,
    Phrase,
    PrepPhrase,
    PronounPhrase,
    Relative,
    Sentence,
)
from common.demo.builtin_lexicon import Adjective, Fixed, Lexicon, Noun, Pronoun, Verb, numbers
from common.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LEXICON = Lexicon()
DATA = yaml.safe_load((ROOT / "common/demo/builtin.yaml").read_text(encoding="utf-8"))


# --- hand-made trees -------------------------------------------------------------------------------


def noun(english: str) -> Noun:
    """The noun with this English singular."""
    return next(n for c in LEXICON.nouns.values() for n in c.items if n.en[0] == english)


def adjective(english: str) -> Adjective:
    """The adjective with this English form."""
    return next(a for g in LEXICON.adjectives for a in g.adjectives.items if a.en == english)


def verb(english: str, group: str = "") -> Verb:
    """The verb with this English base form, from one group where there are several."""
    found = [v for g in LEXICON.verbs for v in g.verbs.items if v.en.base == english]
    return next(v for v in found if group in ("", v.group))


def pronoun(english: str) -> Pronoun:
    """The pronoun with this English subject form."""
    return next(p for p in LEXICON.pronouns.items if p.en[0] == english)


def np(text: str, plural: bool = False, **company: object) -> NounPhrase:
    """`the big house`: a determiner, adjectives, and an English singular."""
    words = text.split()
    adjectives = tuple(adjective(word) for word in words[1:-1])
    head = LEXICON.determiners[words[0]]
    return NounPhrase(noun(words[-1]), head, plural, adjectives=adjectives, **company)  # type: ignore[arg-type]


def he(english: str = "he") -> PronounPhrase:
    """A pronoun subject."""
    return PronounPhrase(pronoun(english))


def say(clause: Clause, rule: str = "statement", front: Fixed | None = None) -> Triple:
    """One clause as a sentence."""
    return builtin.realise(Sentence(rule, (clause,), front))


def do(subject: Phrase | None, name: str, thing: Phrase | None = None, **rest: object) -> Clause:
    """A verbal clause in the present unless told otherwise."""
    frame = "transitive" if thing is not None or "clitic" in rest else "intransitive"
    tense = str(rest.pop("tense", "present"))
    return Clause(frame, tense, subject, verb(name), object=thing, **rest)  # type: ignore[arg-type]


TOMORROW = Fixed("tomorrow", "demain", "morgen")
OFTEN = Fixed("often", "souvent", "oft")
CAREFULLY = Fixed("carefully", "soigneusement", "sorgfältig")


def test_two_adjectives_are_reversed_behind_the_french_noun() -> None:
    triple = say(do(np("the European economic area"), "exist"))
    assert triple.en == "The European economic area exists."
    assert triple.fr == "L'espace économique européen existe."
    assert triple.de == "Der europäische wirtschaftliche Raum existiert."


def test_french_puts_some_adjectives_first_and_changes_them_before_a_vowel() -> None:
    triple = say(do(np("a old French friend"), "arrive", tense="past"))
    assert triple.en == "An old French friend arrived."
    assert triple.fr == "Un vieil ami français est arrivé."
    assert triple.de == "Ein alter französischer Freund kam an."
    assert say(do(np("the new school"), "exist")).fr == "La nouvelle école existe."
    assert say(do(np("the beautiful hero"), "sleep")).fr == "Le beau héros dort."


@pytest.mark.parametrize(
    ("phrase", "plural", "french", "german"),
    [
        ("my idea", False, "mon idée", "meine Idee"),
        ("my good idea", False, "ma bonne idée", "meine gute Idee"),
        ("this hotel", False, "cet hôtel", "dieses Hotel"),
        ("this church", False, "cette église", "diese Kirche"),
        ("this hangar", False, "ce hangar", "dieser Hangar"),
        ("a old man", True, "de vieux hommes", "alte Männer"),
        ("a red car", True, "des voitures rouges", "rote Autos"),
        ("all car", True, "toutes les voitures", "alle Autos"),
        ("many new key", True, "beaucoup de nouvelles clés", "viele neue Schlüssel"),
        ("our social reform", True, "nos réformes sociales", "unsere sozialen Reformen"),
    ],
)
def test_noun_phrase_agreement(phrase: str, plural: bool, french: str, german: str) -> None:
    tree = np(phrase, plural)
    triple = say(do(tree, "exist", tense="future"))
    assert triple.fr[0].lower() + triple.fr[1:] == f"{french} {'existeront' if plural else 'existera'}."
    verb_de = "werden" if plural else "wird"
    assert triple.de == f"{german[0].upper()}{german[1:]} {verb_de} existieren."


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (0, "ein armer Student"),
        (1, "einen armen Studenten"),
        (2, "einem armen Studenten"),
        (3, "eines armen Studenten"),
    ],
)
def test_german_cases_of_a_weak_noun(case: int, expected: str) -> None:
    tree = np("a sad student")
    assert tree.in_german(case) == expected.replace("arme", "traurige")


def test_german_genitive_of_and_french_contraction() -> None:
    director = np("the director", complement=PrepPhrase(None, np("the museum")))
    triple = say(do(director, "sleep"))
    assert triple.en == "The director of the museum sleeps."
    assert triple.fr == "Le directeur du musée dort."
    assert triple.de == "Der Direktor des Museums schläft."
    friend = np("the friend", complement=PrepPhrase(None, np("the hero", plural=True)))
    assert say(do(friend, "sleep")).fr == "L'ami des héros dort."


def test_separable_verb_splits_in_a_main_clause_only() -> None:
    accept = do(np("the team"), "accept", np("the plan"))
    assert say(accept).de == "Die Mannschaft nimmt den Plan an."
    because = builtin.realise(Sentence("because", (do(he(), "laugh"), accept)))
    assert because.en == "He laughs because the team accepts the plan."
    assert because.fr == "Il rit parce que l'équipe accepte le plan."
    assert because.de == "Er lacht, weil die Mannschaft den Plan annimmt."
    accept.tense = "perfect"
    assert say(accept).de == "Die Mannschaft hat den Plan angenommen."
    accept.tense = "must"
    assert say(accept).de == "Die Mannschaft muss den Plan annehmen."


def test_separable_verb_with_zu() -> None:
    purpose = Clause("transitive", "present", None, verb("accept"), np("the plan"))
    triple = say(do(he(), "write", np("a letter"), purpose=purpose))
    assert triple.en == "He writes a letter in order to accept the plan."
    assert triple.fr == "Il écrit une lettre pour accepter le plan."
    assert triple.de == "Er schreibt einen Brief, um den Plan anzunehmen."


def test_verb_second_after_a_fronted_time() -> None:
    triple = say(do(np("the teacher"), "read", np("a book"), tense="future"), "fronted", TOMORROW)
    assert triple.en == "Tomorrow, the teacher will read a book."
    assert triple.fr == "Demain, le professeur lira un livre."
    assert triple.de == "Morgen wird der Lehrer ein Buch lesen."


def test_verb_last_in_reported_and_relative_clauses() -> None:
    inner = do(np("the woman"), "buy", np("the house", plural=False), tense="past")
    inner.object = np("the red car")
    claim = Clause("reporting", "present", np("the man"), verb("believe"), reported=inner)
    triple = say(claim)
    assert triple.en == "The man believes that the woman bought the red car."
    assert triple.fr == "L'homme croit que la femme a acheté la voiture rouge."
    assert triple.de == "Der Mann glaubt, dass die Frau das rote Auto kaufte."


def test_relative_clauses_agree_and_move_behind_the_closing_verb() -> None:
    gap = Gap(4, 3)
    written = do(NamePhrase(LEXICON.first_names.items[1]), "buy", gap, tense="past")
    cars = np("the car", plural=True, relative=Relative(written, 1, animate=False))
    triple = say(do(he("we"), "sell", cars, tense="perfect"))
    assert triple.en == "We have sold the cars that Paul bought."
    assert triple.fr == "Nous avons vendu les voitures que Paul a achetées."
    assert triple.de == "Wir haben die Autos verkauft, die Paul kaufte."
    who = np("the woman", relative=Relative(do(Gap(1, 1), "dance"), 0, animate=True))
    triple = say(do(who, "leave", tense="past"))
    assert triple.en == "The woman who dances left."
    assert triple.fr == "La femme qui danse est partie."
    assert triple.de == "Die Frau, die tanzt, reiste ab."


def test_dative_verbs_and_their_relative_pronoun() -> None:
    helped = do(he("she"), "help", Gap(1, 0), tense="past")
    triple = say(do(np("the man", relative=Relative(helped, 1, animate=True)), "laugh"))
    assert triple.de == "Der Mann, dem sie half, lacht."
    answer = say(do(he("I"), "answer", np("the teacher"), tense="past"))
    assert answer.fr == "J'ai répondu au professeur."
    assert answer.de == "Ich antwortete dem Lehrer."


def test_object_pronouns() -> None:
    saw = do(np("the man"), "meet", clitic=pronoun("she"), tense="past")
    assert say(saw).fr == "L'homme l'a rencontrée."
    assert say(saw).de == "Der Mann traf sie."
    saw.tense = "can"
    assert say(saw).fr == "L'homme peut la rencontrer."
    follow = do(np("the man"), "answer", clitic=pronoun("they"))
    assert say(follow, "fronted", TOMORROW).fr == "Demain, l'homme leur répond."
    assert say(follow, "fronted", TOMORROW).de == "Morgen antwortet ihnen der Mann."


def test_negation_and_adverbs() -> None:
    buy = do(np("the man"), "buy", np("the car"), negated=True)
    triple = say(buy)
    assert triple.en == "The man does not buy the car."
    assert triple.fr == "L'homme n'achète pas la voiture."
    assert triple.de == "Der Mann kauft das Auto nicht."
    often = say(do(np("the man"), "buy", np("the car"), tense="perfect", frequency=OFTEN))
    assert often.en == "The man has often bought the car."
    assert often.fr == "L'homme a souvent acheté la voiture."
    assert often.de == "Der Mann hat oft das Auto gekauft."
    careful = say(do(np("the man"), "read", np("the book"), manner=CAREFULLY))
    assert careful.en == "The man carefully reads the book."
    assert careful.fr == "L'homme lit soigneusement le livre."
    assert careful.de == "Der Mann liest sorgfältig das Buch."


def test_passive_and_indirect_object() -> None:
    written = Clause("passive", "perfect", np("the law", plural=True), verb("write"), np("the king"))
    triple = say(written)
    assert triple.en == "The laws have been written by the king."
    assert triple.fr == "Les lois ont été écrites par le roi."
    assert triple.de == "Die Gesetze sind vom König geschrieben worden."
    both = Coordination((np("the man"), np("a good friend")))
    give = Clause("ditransitive", "past", he("she"), verb("give"), np("the key"), indirect=both)
    triple = say(give)
    assert triple.en == "She gave the key to the man and a good friend."
    assert triple.fr == "Elle a donné la clé à l'homme et à un bon ami."
    assert triple.de == "Sie gab dem Mann und einem guten Freund den Schlüssel."


def test_questions_and_existence() -> None:
    question = say(do(he("they"), "buy", np("the car"), tense="past"), "question")
    assert question.en == "Did they buy the car?"
    assert question.fr == "Est-ce qu'ils ont acheté la voiture ?"
    assert question.de == "Kauften sie das Auto?"
    place = PrepPhrase(LEXICON.place_prepositions.items[0], np("the garden"))
    there = Clause("existential", "present", None, object=np("a old clock"), place=place)
    triple = say(there)
    assert triple.en == "There is an old clock in the garden."
    assert triple.fr == "Il y a une vieille horloge dans le jardin."
    assert triple.de == "Es gibt eine alte Uhr im Garten."


def test_subordinate_clause_in_front_leaves_the_verb_first() -> None:
    clauses = (do(he(), "arrive"), do(np("the child"), "sleep", tense="future"))
    triple = builtin.realise(Sentence("if_first", clauses))
    assert triple.en == "If he arrives, the child will sleep."
    assert triple.fr == "S'il arrive, l'enfant dormira."
    assert triple.de == "Wenn er ankommt, wird das Kind schlafen."


# --- the lexicon -------------------------------------------------------------------------------------


def content_words(language: int) -> set[str]:
    """The first word of every content entry, straight from the YAML."""
    lines: list[str] = []
    for entries in [*DATA["nouns"].values(), *DATA["adverbs"].values()]:
        lines += entries
    for spec in [*DATA["adjectives"].values(), *DATA["verbs"].values()]:
        lines += spec["words"]
    names = [*DATA["names"]["first"], *DATA["names"]["surname"]]
    return {line.split("|")[language].split()[0] for line in lines} | {n.split()[0] for n in names}


@pytest.mark.parametrize("language", [0, 1, 2])
def test_at_least_400_content_words(language: int) -> None:
    assert len(content_words(language)) >= 400


@pytest.mark.parametrize("part", ["nouns", "adjectives"])
def test_lexicon_is_one_to_one_per_part_of_speech(part: str) -> None:
    """Two English words with one translation, or the reverse, would make the mapping a guess."""
    lists = [spec["words"] if isinstance(spec, dict) else spec for spec in DATA[part].values()]
    lines = [line for entries in lists for line in entries]
    for language in range(3):
        words = Counter(line.split("|")[language].split()[0] for line in lines)
        repeated = {word for word, count in words.items() if count > 1}
        assert repeated <= {"cave"}, f"{part}, language {language}"


def test_known_inflections() -> None:
    """Irregular and tricky forms, from a grammar book's tables and not from the program."""
    assert noun("journalist").de[0] == ("Journalist", "Journalisten", "Journalisten", "Journalisten")
    secrets = ("Geheimnisse", "Geheimnisse", "Geheimnissen", "Geheimnisse")
    assert noun("secret").de == (("Geheimnis", "Geheimnis", "Geheimnis", "Geheimnisses"), secrets)
    assert noun("newspaper").fr == ("journal", "journaux")
    assert verb("call").fr.present == ("appelle", "appelle", "appelons", "appelez", "appellent")
    assert verb("buy").fr.future == ("achèterai", "achètera", "achèterons", "achèterez", "achèteront")
    assert verb("announce").fr.present[2] == "annonçons"
    assert verb("correct").fr.present[2] == "corrigeons"
    assert verb("clean").fr.present[4] == "nettoient"
    assert verb("believe").fr.imparfait == ("croyais", "croyait", "croyions", "croyiez", "croyaient")
    assert verb("open").de.present[:2] == ("öffne", "öffnet")
    assert verb("smile").de.present[:3] == ("lächle", "lächelt", "lächeln")
    assert verb("prepare").de.participle == "vorbereitet"
    assert verb("repair").de.participle == "repariert"
    assert verb("submit").de.zu_infinitive == "einzureichen"
    assert adjective("expensive").de["er"] == "teurer"
    assert adjective("tired").de["en"] == "müden"
    assert adjective("white").fr == ("blanc", "blanche", "blancs", "blanches")
    assert adjective("social").fr == ("social", "sociale", "sociaux", "sociales")


def test_the_first_verb_of_every_list_fits_everywhere() -> None:
    """The sampler redraws until a verb fits, which must end however short the list is cut."""
    for group in LEXICON.verbs:
        assert not group.verbs.items[0].ambiguous and not group.verbs.items[0].fr.governs


def test_no_numeral_that_french_would_have_to_agree() -> None:
    assert not [n.fr for n in numbers() if re.search(r"(^| |-)un$", n.fr)]


# --- the text ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> list[Triple]:
    """3,000 sentences with everything on."""
    return list(generate(3000, 7))


def run_generator(hash_seed: str) -> str:
    """The command's output in a process of its own."""
    command = [sys.executable, "-m", "common.demo.builtin", "--count", "60", "--seed", "5"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    return done.stdout.decode("utf-8")


def test_same_seed_same_text_in_every_process() -> None:
    first = run_generator("1")
    assert first == run_generator("2")
    assert first.count("en  ") == 60
    assert [t.en for t in generate(20, 5)] != [t.en for t in generate(20, 6)]
    assert first.startswith(f"en  {next(iter(generate(1, 5))).en}\n")


def test_splits_share_nothing_in_any_language() -> None:
    splits = build_splits(1500, 200, 300, 3, lexicon=100, min_words=4, max_words=16)
    assert [len(splits[name]) for name in ("train", "valid", "test")] == [1500, 200, 300]
    for language in ("en", "fr", "de"):
        texts = [getattr(t, language) for triples in splits.values() for t in triples]
        assert len(set(texts)) == len(texts)
    assert splits == build_splits(1500, 200, 300, 3, lexicon=100, min_words=4, max_words=16)


def test_lengths_spread_from_3_to_60() -> None:
    lengths = [count_words(t.en) for t in generate(8000, 11)]
    assert min(lengths) == 3 and 50 < max(lengths) <= 60
    assert 15 <= sum(lengths) / len(lengths) <= 22
    present = Counter(min(length, 49) // 5 for length in lengths)
    assert all(present[step] > 60 for step in range(8)), present


def test_short_lengths_are_roughly_flat() -> None:
    lengths = Counter(count_words(t.en) for t in generate(6000, 2, lexicon=100, min_words=4, max_words=16))
    assert set(lengths) == set(range(4, 17))
    assert all(lengths[n] > 6000 / 13 / 3 for n in range(5, 17)), lengths


def test_length_is_what_moses_counts(sample: list[Triple]) -> None:
    tokenizer = MosesTokenizer(lang="en")
    for triple in sample[:500]:
        assert count_words(triple.en) == len(tokenizer.tokenize(triple.en)), triple.en


VOWEL = "aeiouhâàéèêëîïôöûüœ"


def test_french_elision_and_contraction_everywhere(sample: list[Triple]) -> None:
    """No `le homme`, no `de le`, no `ma idée`, by patterns that know only the aspirated words."""
    aspirated = "|".join(DATA["french"]["aspirated"])
    open_pair = re.compile(
        rf"\b(le|la|de|que|ne|je|me|ma|sa|ce|beau|nouveau) (?!et\b|{aspirated})[{VOWEL}]", re.IGNORECASE
    )
    for triple in sample:
        assert not open_pair.search(triple.fr), triple.fr
        assert not re.search(r"\b(de|à) les? \b|\b(de|à|avec) des? [^ ]*\bdes\b", triple.fr), triple.fr
        assert not re.search(r"[*|_]|  | ,| \.|,,|,\.", triple.en + triple.fr + triple.de), triple


def test_french_article_agrees_with_its_noun(sample: list[Triple]) -> None:
    """Article directly before a noun, checked against the gender that stands in the YAML."""
    entries = [line.split("|")[1].split() for lines in DATA["nouns"].values() for line in lines]
    genders = {words[0]: words[1] for words in entries}
    article = {"le": "m", "la": "f", "un": "m", "une": "f", "du": "m", "au": "m", "cette": "f", "cet": "m"}
    pairs = 0
    for triple in sample:
        words = re.findall(r"[\w-]+", triple.fr.lower())
        for first, second in zip(words, words[1:], strict=False):
            if first in article and second in genders and second != "une":
                pairs += 1
                assert article[first] == genders[second], triple.fr
    assert pairs > 1000


def test_german_article_agrees_with_its_noun(sample: list[Triple]) -> None:
    """An article directly before a singular noun must be one that its gender has in some case."""
    forms = {
        "m": {"der", "den", "dem", "des", "ein", "einen", "einem", "eines"},
        "f": {"die", "der", "eine", "einer"},
        "n": {"das", "dem", "des", "ein", "einem", "eines"},
    }
    articles = set().union(*forms.values())
    entries = [line.split("|")[2].split() for lines in DATA["nouns"].values() for line in lines]
    plurals = {words[2] for words in entries} | {words[2] + "n" for words in entries}
    genders = {words[0]: words[1] for words in entries if words[0] not in plurals | {"Frau"}}  # das Frau Weber kauft
    pairs = 0
    for triple in sample:
        words = re.findall(r"\w+", triple.de)
        for first, second in zip(words, words[1:], strict=False):
            if first.lower() in articles and second in genders:
                pairs += 1
                assert first.lower() in forms[genders[second]], triple.de
    assert pairs > 1000


def finite_forms() -> set[str]:
    """German finite forms of the tense auxiliaries, from the YAML."""
    auxiliaries = DATA["auxiliaries"]["de"].values()
    rows = [row for spec in auxiliaries for name, row in spec.items() if name in ("present", "past")]
    rows += [spec["de"]["aux"] for spec in DATA["tenses"].values() if "aux" in spec["de"]]
    return {form for row in rows for form in row}


def test_german_subordinate_clauses_end_in_the_finite_verb(sample: list[Triple]) -> None:
    """Where `weil` opens a last clause without commas in it, its auxiliary is its last word."""
    finite, checked = finite_forms(), 0
    for triple in sample:
        match = re.search(r", weil ([^,]+)\.$", triple.de)
        auxiliaries = [w for w in match[1].split() if w in finite] if match else []
        if match and auxiliaries:
            checked += 1
            assert match[1].split()[-1] in finite, triple.de
    assert checked > 20


def test_numbers_and_dates_appear_in_the_form_of_each_language(sample: list[Triple]) -> None:
    english = " ".join(t.en for t in sample)
    assert re.search(r"\bon [A-Z][a-z]+ \d{1,2}, \d{4}\b", english)
    assert re.search(r"\bin \d{4}\b", english)
    assert re.search(r"\b\d,\d{3}\b|\b\d\d,\d{3}\b", english)
    assert re.search(r"\ble \d{1,2} [a-zéû]+ \d{4}\b", " ".join(t.fr for t in sample))
    assert re.search(r"\bam \d{1,2}\. [A-Z][a-zä]+ \d{4}\b", " ".join(t.de for t in sample))
    both = [t for t in sample if "twenty-five" in t.en]
    assert both and all("vingt-cinq" in t.fr and "fünfundzwanzig" in t.de.lower() for t in both)


def types(texts: Iterable[str]) -> Counter[str]:
    """Words and how often they occur, case kept."""
    return Counter(word for text in texts for word in re.findall(r"\w+", text))


def test_a_shortlist_leaves_unknown_words(sample: list[Triple]) -> None:
    for language in ("en", "fr", "de"):
        counts = types(getattr(t, language) for t in sample)
        shortlist = {word for word, _ in counts.most_common(1000)}
        unknown = sum(count for word, count in counts.items() if word not in shortlist)
        assert 0.001 < unknown / counts.total() < 0.2
        assert 1 in counts.values()


def test_restricted_lexicon_restricts_the_vocabulary(sample: list[Triple]) -> None:
    small = list(generate(3000, 7, lexicon=100))
    for language in ("en", "fr", "de"):
        few = types(getattr(t, language) for t in small)
        many = types(getattr(t, language) for t in sample)
        assert len(few) < 0.45 * len(many)
    assert 80 <= sum(Lexicon(100).sizes.values()) <= 110
    assert set(Lexicon(words_per_class=3).sizes.values()) == {3}
    tail = "Yamada"
    assert any(tail in t.en for t in generate(6000, 7)) or tail in DATA["names"]["surname"]
    assert not any(tail in t.en for t in small)


def test_constructions_can_be_chosen() -> None:
    texts = [t.en for t in generate(50, 1, constructions=["question"], max_words=20)]
    assert all(text.endswith("?") for text in texts)
    with pytest.raises(UserError, match="limerick"):
        generate(1, 1, constructions=["limerick"])


@pytest.mark.parametrize(
    "request_",
    [
        {"count": -1},
        {"count": 1, "min_words": 9, "max_words": 8},
        {"count": 1, "min_words": 1, "max_words": 2},
        {"count": 1, "lexicon": 5},
        {"count": 1, "words_per_class": 0},
        {"count": 3000, "words_per_class": 1, "max_words": 4},
    ],
)
def test_impossible_requests_end_in_a_user_error(request_: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "PATIENCE", 3000)
    count = request_.pop("count")
    with pytest.raises(UserError):
        list(generate(count, 1, **request_))  # type: ignore[arg-type]


def test_command_reports_an_impossible_request_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert builtin.main(["--count", "1", "--lexicon", "3"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_one_tree_is_realised_without_chance() -> None:
    tree = Sampler(LEXICON, 4).sentence(20)
    assert tree is not None
    assert builtin.realise(tree) == builtin.realise(tree)
