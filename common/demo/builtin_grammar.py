"""Abstract trees of the builtin corpus and their realisation in English, French and German.

One tree gives the three sentences. A tree says what is meant (who, what, when, how many); word order
comes from the templates in `builtin.yaml`, and agreement, case and contraction from here. Realising
draws nothing at random: equal trees give equal sentences.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from common.demo.builtin_lexicon import (
    ACCUSATIVE,
    ASPIRATED,
    DATIVE,
    GENITIVE,
    NOMINATIVE,
    Adjective,
    Determiner,
    Fixed,
    Name,
    Noun,
    Preposition,
    Pronoun,
    Table,
    Verb,
    english_article,
    french_vowel,
    load_data,
)

Slots = dict[str, str]
SUBJECT, DIRECT, INDIRECT = range(3)


class Phrase(Protocol):
    """What can fill a subject or object slot: three realisations and what others agree with."""

    @property
    def person(self) -> int:
        """Row of the verb table."""

    @property
    def french(self) -> int:
        """French agreement index."""

    def in_english(self) -> str:
        """The phrase as a subject or behind a preposition."""

    def in_french(self) -> str:
        """The phrase without a preposition."""

    def in_german(self, case: int) -> str:
        """The phrase in the given case."""


@dataclass(slots=True)
class PrepPhrase:
    """A preposition and its noun phrase; `preposition` None is the genitive, `of`."""

    preposition: Preposition | None
    inner: Phrase

    def in_english(self) -> str:
        """Preposition first, as in all three languages."""
        return f"{self.preposition.en if self.preposition else 'of'} {self.inner.in_english()}"

    def in_french(self) -> str:
        """Elision and contraction are left to the finished sentence."""
        return f"{self.preposition.fr if self.preposition else 'de'} {self.inner.in_french()}"

    def in_german(self) -> str:
        """A genitive where the determiner shows it, `von` with the dative before a bare name."""
        if self.preposition:
            return f"{self.preposition.de} {self.inner.in_german(self.preposition.case)}"
        if isinstance(self.inner, NounPhrase):
            return self.inner.in_german(GENITIVE)
        return f"von {self.inner.in_german(DATIVE)}"


@dataclass(slots=True)
class Relative:
    """A relative clause; the clause holds a Gap where the noun was taken from."""

    clause: Clause
    role: int
    animate: bool

    def in_english(self) -> str:
        """`who` for a person as the subject, `that` otherwise."""
        word = "who" if self.animate and self.role == SUBJECT else "that"
        return f"{word} {english_clause(self.clause)}"

    def in_french(self) -> str:
        """`qui` or `que`."""
        return f"{'qui' if self.role == SUBJECT else 'que'} {french_clause(self.clause)}"

    def in_german(self, gender: str) -> str:
        """Verb last, between commas."""
        case = NOMINATIVE if self.role == SUBJECT else self.clause.verb_case
        pronoun = RULES.relative[gender][case]
        return f", {pronoun} {german_clause(self.clause, 'last')} ,"


@dataclass(slots=True)
class NounPhrase:
    """A common noun with its company; a noun has a complement or a relative clause, never both.

    With both, the English sentence would not tell which noun the relative clause belongs to.
    """

    noun: Noun
    determiner: Determiner
    plural: bool = False
    number: Fixed | None = None
    adjectives: tuple[Adjective, ...] = ()
    complement: PrepPhrase | None = None
    relative: Relative | None = None

    @property
    def person(self) -> int:
        """They or he/she."""
        return 4 if self.plural else 1

    @property
    def french(self) -> int:
        """Gender and number."""
        return 2 * self.plural + self.noun.fr_feminine

    @property
    def german_gender(self) -> str:
        """Gender, or p for every plural."""
        return "p" if self.plural else self.noun.de_gender

    def _tail(self) -> PrepPhrase | Relative | None:
        return self.complement or self.relative

    def in_english(self) -> str:
        """Determiner, number, adjectives, noun, complement."""
        words = [self.determiner.en[self.plural]]
        if self.number:
            words.append(self.number.en)
        words += [adjective.en for adjective in self.adjectives]
        words.append(self.noun.en[self.plural])
        if words[0] == "a":
            words[0] = english_article(words[1])
        tail = self._tail()
        if tail:
            words.append(tail.in_english())
        return " ".join(filter(None, words))

    def in_french(self) -> str:
        """Some adjectives before the noun; the others after it, in the reverse of English order."""
        agreement, noun = self.french, self.noun.fr[self.plural]
        before = [a.fr[agreement] for a in self.adjectives if a.before]
        if agreement == 0 and before and french_vowel(noun):
            last = [a for a in self.adjectives if a.before][-1]
            before[-1] = last.fr_vowel
        core = [*([self.number.fr] if self.number else []), *before, noun]
        words = [self._french_determiner(core[0], bool(before)), *core]
        words += [a.fr[agreement] for a in reversed(self.adjectives) if not a.before]
        tail = self._tail()
        if tail:
            words.append(tail.in_french())
        return " ".join(filter(None, words))

    def _french_determiner(self, following: str, adjective: bool) -> str:
        """Plural `des` becomes `de` before an adjective; `ma`, `ce` change before a vowel."""
        determiner = self.determiner
        if self.plural:
            if determiner.name == "a" and adjective:
                return "de"
            return determiner.fr_plural[self.noun.fr_feminine]
        masculine, feminine, vowel = determiner.fr
        # mon amie, cet homme, but cette amie; le and la elide in the finished sentence instead
        changes = ("this",) if not self.noun.fr_feminine else ("my", "his", "her")
        if determiner.name in changes and french_vowel(following):
            return vowel
        return feminine if self.noun.fr_feminine else masculine

    def in_german(self, case: int) -> str:
        """The phrase in its case, a relative clause directly behind it."""
        core = self.german_core(case)
        return f"{core} {self.relative.in_german(self.german_gender)}" if self.relative else core

    def german_core(self, case: int) -> str:
        """Determiner and adjectives by gender, number and case; no relative clause."""
        gender, determiner = self.german_gender, self.determiner
        words = [determiner.de[gender][case]]
        if self.number:
            words.append(self.number.de)
        ending = determiner.endings[gender][case]
        words += [adjective.de[ending] for adjective in self.adjectives]
        words.append(self.noun.de[self.plural][case])
        if self.complement:
            words.append(self.complement.in_german())
        return " ".join(filter(None, words))


@dataclass(slots=True)
class NamePhrase:
    """A person's name."""

    name: Name
    person: int = 1

    @property
    def french(self) -> int:
        """The bearer's gender."""
        return int(self.name.feminine)

    def in_english(self) -> str:
        """The name."""
        return self.name.en

    def in_french(self) -> str:
        """The name."""
        return self.name.fr

    def in_german(self, case: int) -> str:
        """The name; `Herr` has a case."""
        return self.name.de[case]


@dataclass(slots=True)
class PronounPhrase:
    """A personal pronoun as the subject; objects go through `Clause.clitic`."""

    pronoun: Pronoun

    @property
    def person(self) -> int:
        """Row of the verb table."""
        return self.pronoun.person

    @property
    def french(self) -> int:
        """Gender and number; `I`, `we` and polite `you` count as masculine."""
        return 2 * self.pronoun.plural + self.pronoun.feminine

    def in_english(self) -> str:
        """The subject form."""
        return self.pronoun.en[SUBJECT]

    def in_french(self) -> str:
        """The subject form."""
        return self.pronoun.fr[SUBJECT]

    def in_german(self, case: int) -> str:
        """The form for the case."""
        return self.pronoun.de[case]


@dataclass(slots=True)
class Coordination:
    """Two or more phrases joined by `and`."""

    parts: tuple[Phrase, ...]
    person: int = 4

    @property
    def french(self) -> int:
        """Feminine plural only where every part is feminine."""
        return 3 if all(part.french % 2 for part in self.parts) else 2

    @staticmethod
    def join(parts: list[str], word: str) -> str:
        return f"{' , '.join(parts[:-1])} {word} {parts[-1]}"

    def in_english(self) -> str:
        """A, B and C."""
        return self.join([part.in_english() for part in self.parts], "and")

    def in_french(self) -> str:
        """A, B et C."""
        return self.join([part.in_french() for part in self.parts], "et")

    def in_german(self, case: int) -> str:
        """A, B und C, all in the same case."""
        return self.join([part.in_german(case) for part in self.parts], "und")


@dataclass(slots=True)
class Gap:
    """The empty place of the noun that a relative clause belongs to; it still decides agreement."""

    person: int
    french: int

    def in_english(self) -> str:
        """Nothing."""
        return ""

    def in_french(self) -> str:
        """Nothing."""
        return ""

    def in_german(self, case: int) -> str:
        """Nothing."""
        return ""


@dataclass(slots=True)
class Clause:
    """One clause: what fills its slots, its tense, and whether it is negated or passive."""

    frame: str
    tense: str
    subject: Phrase | None
    verb: Verb | None = None
    object: Phrase | None = None
    clitic: Pronoun | None = None
    indirect: Phrase | None = None
    predicate: tuple[Adjective, ...] = ()
    negated: bool = False
    frequency: Fixed | None = None
    manner: Fixed | None = None
    place: PrepPhrase | Fixed | None = None
    time: Fixed | None = None
    reported: Clause | None = None
    purpose: Clause | None = None

    @property
    def verb_case(self) -> int:
        """The German case of the object."""
        return self.verb.de.case if self.verb else ACCUSATIVE


@dataclass(slots=True)
class Sentence:
    """A sentence rule of the data file with its clauses and what stands in front."""

    rule: str
    clauses: tuple[Clause, ...]
    front: Fixed | None = None


@dataclass(frozen=True)
class Orders:
    """A rule's template per language, split into tokens; German also has what follows the verbs."""

    en: tuple[str, ...]
    fr: tuple[str, ...]
    de: tuple[str, ...]
    de_after: tuple[str, ...] = ()

    @classmethod
    def read(cls, rule: Mapping[str, str]) -> Orders:
        """The templates of one rule."""
        middle, _, after = rule["de"].partition("|")
        english, french = tuple(rule["en"].split()), tuple(rule["fr"].split())
        return cls(english, french, tuple(middle.split()), tuple(after.split()))


@dataclass
class Rules:
    """The parts of the data file that realisation consults."""

    data: Table
    clauses: dict[str, Orders] = field(default_factory=dict)
    sentences: dict[str, Orders] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clauses = {name: Orders.read(rule) for name, rule in self.data["clauses"].items()}
        self.sentences = {name: Orders.read(rule) for name, rule in self.data["sentences"].items()}
        self.tenses: Table = self.data["tenses"]
        self.english_be: Table = self.data["auxiliaries"]["en"]["be"]
        self.french_aux: Table = self.data["auxiliaries"]["fr"]
        self.german_aux: Table = self.data["auxiliaries"]["de"]
        self.relative: Table = self.data["german"]["relative"]
        self.existential: Table = self.data["existential"]
        self.contractions: dict[str, str] = dict(self.data["german"]["contractions"])


RULES = Rules(load_data())


def fill(template: tuple[str, ...], slots: Slots) -> str:
    """The template's slots in order; a token that is no slot stands for itself."""
    return " ".join(filter(None, [slots.get(token, token) for token in template]))


# --- English -----------------------------------------------------------------------------------


def english_be(clause: Clause, person: int) -> tuple[str, str]:
    """`is`, `has been`, `will be`: the first word and the rest of a copula or passive."""
    be, tense = RULES.english_be, clause.tense
    if tense in ("present", "past"):
        return be[tense][person], ""
    return RULES.tenses[tense]["en"]["aux"][person], be["participle" if tense == "perfect" else "base"]


def english_verb(clause: Clause, person: int, support: bool) -> tuple[str, str]:
    """The auxiliary ("" if none) and the rest; `support` asks for do-support where none is there."""
    if clause.frame in ("copula", "passive"):
        aux, rest = english_be(clause, person)
        participle = clause.verb.en.participle if clause.verb else ""
        return aux, f"{rest} {participle}".strip()
    assert clause.verb is not None
    forms, spec = clause.verb.en, RULES.tenses[clause.tense]["en"]
    if "do" not in spec:
        rest = forms.participle if spec["own"] == "participle" else forms.base
        return spec["aux"][person], rest
    if support:
        return spec["do"][person], forms.base
    return "", (forms.present if spec["own"] == "present" else forms.past)[person]


def english_clause(clause: Clause, question: bool = False) -> str:
    """The clause in English; a question puts the auxiliary before the subject."""
    if clause.frame == "existential":
        return english_existential(clause)
    assert clause.subject is not None
    aux, rest = english_verb(clause, clause.subject.person, clause.negated or question)
    negation = "not" if clause.negated else ""
    if clause.negated and aux == "can":
        aux, negation = "cannot", ""
    subject = clause.subject.in_english()
    if question:
        subject, aux = f"{aux} {subject}", ""
    slots = english_slots(clause) | {"S": subject, "aux": aux, "not": negation, "verb": rest}
    return fill(RULES.clauses[clause.frame].en, slots)


def english_slots(clause: Clause) -> Slots:
    """Everything but the subject and the verb."""
    agent = clause.object if clause.frame == "passive" else None
    return {
        "O": clause.object.in_english() if clause.object else "",
        "C": clause.clitic.en[1] if clause.clitic else "",
        "I": clause.indirect.in_english() if clause.indirect else "",
        "A": " and ".join(adjective.en for adjective in clause.predicate),
        "B": f"by {agent.in_english()}" if agent else "",
        "F": clause.frequency.en if clause.frequency else "",
        "M": clause.manner.en if clause.manner else "",
        "L": english_place(clause.place),
        "T": clause.time.en if clause.time else "",
        "K": english_clause(clause.reported) if clause.reported else "",
        "U": english_purpose(clause.purpose) if clause.purpose else "",
    }


def english_place(place: PrepPhrase | Fixed | None) -> str:
    """A place phrase or a fixed one."""
    if place is None:
        return ""
    return place.en if isinstance(place, Fixed) else place.in_english()


def english_purpose(clause: Clause) -> str:
    """`in order to read the book`."""
    assert clause.verb is not None and clause.object is not None
    return f"in order to {clause.verb.en.base} {clause.object.in_english()}"


def english_existential(clause: Clause) -> str:
    """`there is a park in the city`."""
    assert clause.object is not None
    plural = clause.object.person == 4
    slots = {
        "S": "there",
        "fin": RULES.existential[clause.tense]["en"][plural],
        "O": clause.object.in_english(),
        "L": english_place(clause.place),
    }
    return fill(RULES.clauses["existential"].en, slots)


# --- French ------------------------------------------------------------------------------------


def french_be(clause: Clause, person: int) -> tuple[str, str]:
    """`est`, `a été`, `sera`, `doit être`: a copula (past `était`) or the auxiliary of a passive."""
    be, tense = RULES.french_aux["être"], clause.tense
    if tense in ("present", "future") or (tense == "past" and clause.frame == "copula"):
        return be[tense][person], ""
    if tense in ("past", "perfect"):
        return RULES.french_aux["avoir"]["present"][person], be["participle"]
    return RULES.tenses[tense]["fr"]["aux"][person], be["infinitive"]


def french_agreement(clause: Clause) -> int:
    """What the participle agrees with: the subject with être, a preceding direct object with avoir."""
    assert clause.verb is not None and clause.subject is not None
    if clause.frame == "passive" or clause.verb.fr.with_be:
        return clause.subject.french
    if isinstance(clause.object, Gap):
        return clause.object.french
    if clause.clitic and not clause.verb.fr.governs:
        return 2 * clause.clitic.plural + clause.clitic.feminine
    return 0


def french_verb(clause: Clause, person: int) -> tuple[str, str]:
    """The finite verb and the rest of the verb group."""
    if clause.frame == "copula":
        return french_be(clause, person)
    assert clause.verb is not None
    forms, spec = clause.verb.fr, RULES.tenses[clause.tense]["fr"]
    if clause.frame == "passive":
        finite, rest = french_be(clause, person)
        return finite, f"{rest} {forms.participle[french_agreement(clause)]}".strip()
    if clause.tense == "past" and forms.imparfait:
        return forms.imparfait[person], ""
    if spec.get("perfect"):
        auxiliary = RULES.french_aux["être" if forms.with_be else "avoir"]
        return auxiliary["present"][person], forms.participle[french_agreement(clause)]
    if spec["own"] == "infinitive":
        return spec["aux"][person], forms.infinitive
    return (forms.present if spec["own"] == "present" else forms.future)[person], ""


def french_clause(clause: Clause) -> str:
    """The clause in French; the same order in main and subordinate clauses."""
    if clause.frame == "existential":
        return french_existential(clause)
    assert clause.subject is not None
    finite, rest = french_verb(clause, clause.subject.person)
    clitic = french_clitic(clause)
    if clitic and RULES.tenses[clause.tense]["fr"].get("own") == "infinitive":
        clitic, rest = "", f"{clitic} {rest}"  # je peux le voir
    slots = french_slots(clause) | {
        "S": clause.subject.in_french(),
        "ne": "ne" if clause.negated else "",
        "pas": "pas" if clause.negated else "",
        "fin": finite,
        "rest": rest,
        "C": clitic,
    }
    return fill(RULES.clauses[clause.frame].fr, slots)


def french_clitic(clause: Clause) -> str:
    """The object pronoun, direct or indirect as the verb asks."""
    if not clause.clitic or not clause.verb:
        return ""
    return clause.clitic.fr[INDIRECT if clause.verb.fr.governs else DIRECT]


def french_slots(clause: Clause) -> Slots:
    """Everything but the subject and the verb."""
    agent = clause.object if clause.frame == "passive" else None
    agreement = clause.subject.french if clause.subject else 0
    place = clause.place
    located = place.fr if isinstance(place, Fixed) else place.in_french() if place else ""
    return {
        "O": french_object(clause),
        "I": french_governed("à", clause.indirect),
        "A": " et ".join(adjective.fr[agreement] for adjective in clause.predicate),
        "B": french_governed("par", agent),
        "F": clause.frequency.fr if clause.frequency else "",
        "M": clause.manner.fr if clause.manner else "",
        "L": located,
        "T": clause.time.fr if clause.time else "",
        "K": french_clause(clause.reported) if clause.reported else "",
        "U": french_purpose(clause.purpose) if clause.purpose else "",
    }


def french_object(clause: Clause) -> str:
    """The object with the preposition its verb governs, if any."""
    if clause.object is None or clause.verb is None:
        return clause.object.in_french() if clause.object else ""
    return french_governed(clause.verb.fr.governs, clause.object)


def french_governed(preposition: str, phrase: Phrase | None) -> str:
    """`à Paul et à Marie`: French repeats the preposition; "" for no phrase."""
    if phrase is None:
        return ""
    if preposition and isinstance(phrase, Coordination):
        return Coordination.join([f"{preposition} {part.in_french()}" for part in phrase.parts], "et")
    return f"{preposition} {phrase.in_french()}".strip()


def french_purpose(clause: Clause) -> str:
    """`pour lire le livre`."""
    assert clause.verb is not None
    return f"pour {clause.verb.fr.infinitive} {french_object(clause)}"


def french_existential(clause: Clause) -> str:
    """`il y a un parc dans la ville`."""
    assert clause.object is not None
    finite = RULES.existential[clause.tense]["fr"]
    slots = french_slots(clause) | {"S": "il", "fin": finite, "O": clause.object.in_french()}
    return fill(RULES.clauses["existential"].fr, slots)


# --- German ------------------------------------------------------------------------------------


def german_be(clause: Clause, person: int) -> tuple[str, str]:
    """Finite verb and closing words of a copula (sein) or a passive (werden with participle)."""
    passive, tense = clause.frame == "passive", clause.tense
    verb = RULES.german_aux["werden" if passive else "sein"]
    participle = f"{clause.verb.de.participle} " if passive and clause.verb else ""
    if tense in ("present", "past"):
        return verb[tense][person], participle.strip()
    if tense == "perfect":
        return RULES.german_aux["sein"]["present"][person], participle + verb["participle"]
    return RULES.tenses[tense]["de"]["aux"][person], participle + verb["infinitive"]


def german_verb(clause: Clause, person: int) -> tuple[str, str, str]:
    """Separable prefix, finite verb, and the words that close the clause."""
    if clause.frame == "existential":
        finite, closing = RULES.existential[clause.tense]["de"]
        return "", finite, closing
    if clause.frame in ("copula", "passive"):
        return "", *german_be(clause, person)
    assert clause.verb is not None
    forms, spec = clause.verb.de, RULES.tenses[clause.tense]["de"]
    if spec.get("perfect"):
        auxiliary = RULES.german_aux["sein" if forms.with_be else "haben"]
        return "", auxiliary["present"][person], forms.participle
    if spec["own"] == "infinitive":
        return "", spec["aux"][person], forms.infinitive
    return forms.prefix, (forms.present if spec["own"] == "present" else forms.past)[person], ""


def german_clause(clause: Clause, order: str) -> str:
    """The clause with its finite verb second (main), first, or last.

    A separable prefix closes the clause unless the verb itself comes last: dass er ankommt.
    """
    person = clause.subject.person if clause.subject else 1
    prefix, finite, closing = german_verb(clause, person)
    template = RULES.clauses[clause.frame]
    slots = german_slots(clause)
    subject, middle = slots["S"], fill(template.de[1:], slots)
    if order == "last":
        words = [subject, middle, closing, prefix + finite]
    elif order == "first":
        if clause.clitic and not isinstance(clause.subject, PronounPhrase):
            # an object pronoun overtakes a noun: heute folgt ihm der Mann
            subject, middle = slots["C"], fill(template.de[1:], slots | {"C": subject})
        words = [finite, subject, middle, prefix, closing]
    else:
        words = [subject, finite, middle, prefix, closing]
    moved = german_extraposed(clause)
    if moved and moved.relative:
        words.append(moved.relative.in_german(moved.german_gender))
    if (clause.reported or clause.purpose) and template.de_after:
        words.append(fill(template.de_after, slots))
    return " ".join(filter(None, words))


def german_extraposed(clause: Clause) -> NounPhrase | None:
    """The object whose relative clause goes behind the closing verb: er liest ein Buch vor, das ...

    Only where nothing but the verb would come between them.
    """
    phrase = clause.object
    if clause.frame not in ("transitive", "passive") or clause.place:
        return None
    return phrase if isinstance(phrase, NounPhrase) and phrase.relative else None


def german_object(clause: Clause, case: int) -> str:
    """The object, or agent of a passive, without a relative clause that moves."""
    moved = german_extraposed(clause)
    if moved:
        return moved.german_core(case)
    return clause.object.in_german(case) if clause.object else ""


def german_slots(clause: Clause) -> Slots:
    """Everything but the verb."""
    case, passive = clause.verb_case, clause.frame == "passive"
    place = clause.place
    located = place.de if isinstance(place, Fixed) else place.in_german() if place else ""
    return {
        "S": clause.subject.in_german(NOMINATIVE) if clause.subject else "es",
        "O": german_object(clause, case) if not passive else "",
        "B": f"von {german_object(clause, DATIVE)}" if clause.object and passive else "",
        "C": clause.clitic.de[case] if clause.clitic else "",
        "I": clause.indirect.in_german(DATIVE) if clause.indirect else "",
        "A": " und ".join(adjective.de[""] for adjective in clause.predicate),
        "not": "nicht" if clause.negated else "",
        "F": clause.frequency.de if clause.frequency else "",
        "M": clause.manner.de if clause.manner else "",
        "L": located,
        "T": clause.time.de if clause.time else "",
        "K": german_clause(clause.reported, "last") if clause.reported else "",
        "U": german_purpose(clause.purpose) if clause.purpose else "",
    }


def german_purpose(clause: Clause) -> str:
    """`um das Buch zu lesen`, between commas."""
    assert clause.verb is not None and clause.object is not None
    words = clause.object.in_german(clause.verb_case)
    return f", um {words} {clause.verb.de.zu_infinitive} ,"


# --- sentences ---------------------------------------------------------------------------------

_BEFORE_MARK = re.compile(r"(?: ,)+(?= ?[.,?;])")
_TIGHT = re.compile(r" ([,.])")
_ELISION = re.compile(
    rf"\b({'|'.join(load_data()['french']['elide'])}) (?=[aeiouhâàéèêëîïôöûüœAEIOUHÂÀÉÈÊÎÔŒ])", re.IGNORECASE
)
_DE_INDEFINITE = re.compile(r"\bde des? ")
_SI = re.compile(r"\b([Ss])i (?=ils? )")
_FRENCH_CONTRACTION = re.compile(r"\b(de|à) (les?) ")
_FRENCH_CONTRACTED = {"de le": "du ", "de les": "des ", "à le": "au ", "à les": "aux "}
_GERMAN_CONTRACTION = re.compile(rf"\b({'|'.join(RULES.contractions)})\b", re.IGNORECASE)


def tidy(text: str) -> str:
    """Capital first, no doubled commas, marks at the word before them."""
    text = _BEFORE_MARK.sub("", text)
    text = _TIGHT.sub(r"\1", text)
    return text[0].upper() + text[1:]


def finish_french(text: str) -> str:
    """Elision, contraction, and the blank that French sets before a question mark and semicolon."""
    text = _DE_INDEFINITE.sub("de ", text)  # près de des jardins: près de jardins
    text = _ELISION.sub(lambda match: match[1][:-1] + "'", text)
    text = _SI.sub(r"\1'", text)
    text = _FRENCH_CONTRACTION.sub(lambda match: _FRENCH_CONTRACTED[f"{match[1]} {match[2]}"], text)
    return tidy(text.replace(ASPIRATED, ""))


def finish_german(text: str) -> str:
    """Contraction of prepositions with the article."""
    return tidy(_GERMAN_CONTRACTION.sub(lambda match: RULES.contractions[match[1].lower()], text))


def finish_english(text: str) -> str:
    """Question mark and semicolon at the word before them; a capital I."""
    return tidy(text.replace(" ?", "?").replace(" ;", ";"))


def english_sentence(sentence: Sentence) -> str:
    """The English sentence as one would print it."""
    slots = {"T": sentence.front.en if sentence.front else ""}
    for index, clause in enumerate(sentence.clauses, start=1):
        slots[f"C{index}"] = english_clause(clause)
        if sentence.rule in ("question", "why"):
            slots[f"C{index}:question"] = english_clause(clause, question=True)
    return finish_english(fill(RULES.sentences[sentence.rule].en, slots))


def french_sentence(sentence: Sentence) -> str:
    """The French sentence as one would print it."""
    slots = {"T": sentence.front.fr if sentence.front else ""}
    for index, clause in enumerate(sentence.clauses, start=1):
        slots[f"C{index}"] = french_clause(clause)
    return finish_french(fill(RULES.sentences[sentence.rule].fr, slots))


def german_sentence(sentence: Sentence) -> str:
    """The German sentence as one would print it."""
    words: list[str] = []
    for token in RULES.sentences[sentence.rule].de:
        name, _, order = token.partition(":")
        if order:
            words.append(german_clause(sentence.clauses[int(name[1:]) - 1], order))
        elif token == "T":
            words.append(sentence.front.de if sentence.front else "")
        else:
            words.append(token)
    text = " ".join(words).replace(" ?", "?").replace(" ;", ";")
    return finish_german(text)
