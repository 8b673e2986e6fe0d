"""The lexicon of the builtin corpus: `builtin.yaml` read and inflected once, before any sentence.

All inflection happens here, at load time, so that generating a sentence is only choosing and joining
ready strings. Three index conventions run through all the tables:

* person   0 I, 1 he/she/it and every singular noun, 2 we, 3 polite you, 4 they and every plural noun
* French   agreement 0 masculine singular, 1 feminine singular, 2 masculine plural, 3 feminine plural
* German   case 0 nominative, 1 accusative, 2 dative, 3 genitive; gender key m, f, n or p (plural)
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from common.errors import UserError

DATA_FILE = Path(__file__).with_name("builtin.yaml")
PERSONS = range(5)
NOMINATIVE, ACCUSATIVE, DATIVE, GENITIVE = range(4)
CASES = {"nom": NOMINATIVE, "acc": ACCUSATIVE, "dat": DATIVE, "gen": GENITIVE}
# Marks a French word that forbids elision before it; taken out of the finished sentence.
ASPIRATED = "*"
# Zipf's law as Mandelbrot wrote it, 1 / (rank + shift)^exponent: the shift keeps the first word of a
# short list from drowning the others, the exponent makes the tails rare enough to fall off a shortlist.
ZIPF_EXPONENT = 1.4
ZIPF_SHIFT = 3.0

Table = Mapping[str, Any]
Item = TypeVar("Item")


class Choice(Generic[Item]):
    """A weighted list to draw from with one uniform number, the same on every Python version."""

    def __init__(self, items: Sequence[Item], weights: Sequence[float] | None = None) -> None:
        if not items:
            raise UserError(f"{DATA_FILE.name}: an empty list; restrict the lexicon less")
        self.items = list(items)
        if weights is None:  # Zipf by rank
            weights = [1.0 / (rank + ZIPF_SHIFT) ** ZIPF_EXPONENT for rank in range(len(self.items))]
        self._cumulative = list(accumulate(weights))

    def pick(self, uniform: float) -> Item:
        """The item at `uniform` (0 <= uniform < 1) of the total weight."""
        place = bisect_right(self._cumulative, uniform * self._cumulative[-1])
        return self.items[min(place, len(self.items) - 1)]


@dataclass(frozen=True)
class Fixed:
    """A word or phrase that never inflects: an adverb, a time, a number, a city."""

    en: str
    fr: str
    de: str


@dataclass(frozen=True)
class Noun:
    """A common noun; `en` and `fr` are (singular, plural), `de[plural][case]`."""

    kind: str
    en: tuple[str, str]
    fr: tuple[str, str]
    fr_feminine: bool
    de: tuple[tuple[str, ...], tuple[str, ...]]
    de_gender: str


@dataclass(frozen=True)
class Adjective:
    """`fr` by agreement index, `fr_vowel` before a masculine vowel, `de` by ending ("" predicative)."""

    group: str
    rank: int
    before: bool
    en: str
    fr: tuple[str, str, str, str]
    fr_vowel: str
    de: Mapping[str, str]


@dataclass(frozen=True)
class Determiner:
    """`fr` is (masculine, feminine, before a vowel); `fr_plural` by gender; `de` by gender, case."""

    name: str
    en: tuple[str, str]
    fr: tuple[str, str, str]
    fr_plural: tuple[str, str]
    de: Mapping[str, tuple[str, ...]]
    endings: Mapping[str, tuple[str, ...]]

    @property
    def possessive(self) -> bool:
        """My, his and their like."""
        return self.name in ("my", "his", "her", "our", "their", "your")

    @property
    def definite(self) -> bool:
        """True where a negated object needs no change of article (French `pas de`, German `kein`)."""
        return self.name in ("the", "this") or self.possessive


@dataclass(frozen=True)
class EnglishVerb:
    """Finite forms by person, and the forms that follow an auxiliary."""

    present: tuple[str, ...]
    past: tuple[str, ...]
    base: str
    participle: str


@dataclass(frozen=True)
class FrenchVerb:
    """`participle` by agreement index; `governs` is the preposition before the object, or "".

    `imparfait` is empty unless the verb of state has it as its past.
    """

    present: tuple[str, ...]
    future: tuple[str, ...]
    infinitive: str
    imparfait: tuple[str, ...]
    participle: tuple[str, str, str, str]
    with_be: bool
    governs: str


@dataclass(frozen=True)
class GermanVerb:
    """`prefix` is the separable part, "" for most; `case` is the object's."""

    prefix: str
    present: tuple[str, ...]
    past: tuple[str, ...]
    infinitive: str
    zu_infinitive: str
    participle: str
    with_be: bool
    case: int


@dataclass(frozen=True)
class Verb:
    """One verb in three languages, with the list it came from."""

    group: str
    en: EnglishVerb
    fr: FrenchVerb
    de: GermanVerb

    @property
    def ambiguous(self) -> bool:
        """True where the English past looks like the present (read, set)."""
        return self.en.past[0] == self.en.present[0]

    @property
    def passive(self) -> bool:
        """True where all three languages form a passive with the object as its subject."""
        return not self.fr.governs and self.de.case == ACCUSATIVE


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun; `en` (subject, object), `fr` (subject, direct, indirect), `de` by case."""

    person: int
    feminine: bool
    plural: bool
    en: tuple[str, str]
    fr: tuple[str, str, str]
    de: tuple[str, str, str]


@dataclass(frozen=True)
class Name:
    """A first name, or a surname with its title; German `Herr` declines."""

    en: str
    fr: str
    de: tuple[str, str, str, str]
    feminine: bool


@dataclass(frozen=True)
class Preposition:
    """A preposition with the nouns it may follow and govern."""

    en: str
    fr: str
    de: str
    case: int
    after: tuple[str, ...]
    object: tuple[str, ...]


@dataclass(frozen=True)
class VerbGroup:
    """A list of verbs that share the kinds of their subject and objects."""

    name: str
    frame: str
    weight: float
    subject: tuple[str, ...]
    object: tuple[str, ...]
    indirect: tuple[str, ...]
    verbs: Choice[Verb]


@dataclass(frozen=True)
class AdjectiveGroup:
    """A list of adjectives that share a place in the noun phrase."""

    name: str
    rank: int
    weight: float
    nouns: tuple[str, ...]
    predicate: bool
    adjectives: Choice[Adjective]


@functools.lru_cache(maxsize=1)
def load_data() -> Table:
    """The data file as YAML gives it."""
    with DATA_FILE.open(encoding="utf-8") as file:
        data: Table = yaml.safe_load(file)
    return data


def split_entry(line: str) -> tuple[list[str], list[str], list[str]]:
    """`English | French | German` as three lists of words; `_` inside a word is a blank.

    Raises UserError for a line without exactly three parts.
    """
    parts = [[word.replace("_", " ") for word in part.split()] for part in line.split("|")]
    if len(parts) != 3 or not all(parts):
        raise UserError(f"{DATA_FILE.name}: {line!r} needs three parts, English | French | German")
    return parts[0], parts[1], parts[2]


def fixed(line: str) -> Fixed:
    """An entry that does not inflect, blanks and all."""
    return Fixed(*(" ".join(part) for part in split_entry(line)))


# --- English -----------------------------------------------------------------------------------


def english_s(word: str) -> str:
    """Plural of a noun, third person of a verb."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def english_ed(word: str) -> str:
    """Regular past; verbs that double a consonant are listed with their forms."""
    if word.endswith("e"):
        return word + "d"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ied"
    return word + "ed"


def english_article(word: str) -> str:
    """`a` or `an` before `word`, by sound for the few words of the lexicon that need it."""
    if word.startswith(("Eu", "use", "uni")):
        return "a"
    return "an" if word[0] in "aeiouAEIOU" or word.startswith("hon") else "a"


def english_verb(words: Sequence[str]) -> EnglishVerb:
    """`take+away took taken` and its like."""
    base, _, particle = words[0].partition("+")
    past = words[1] if len(words) > 1 else english_ed(base)
    participle = words[2] if len(words) > 2 else past
    tail = f" {particle}" if particle else ""
    third = english_s(base)
    return EnglishVerb(
        present=tuple((third if person == 1 else base) + tail for person in PERSONS),
        past=tuple(past + tail for _ in PERSONS),
        base=base + tail,
        participle=participle + tail,
    )


# --- French ------------------------------------------------------------------------------------


def aspirate(word: str, stems: Sequence[str]) -> str:
    """`word` marked where its first sound forbids elision."""
    return ASPIRATED + word if word.startswith(tuple(stems)) else word


def french_vowel(word: str) -> bool:
    """True where `word` makes the word before it elide; aspirated words carry their mark."""
    return word[0] in "aeiouhâàéèêëîïôöûüœAEIOUHÂÀÉÈÊÎÔŒ"


def french_plural(word: str) -> str:
    """Regular plural of a noun or a masculine adjective."""
    if word.endswith(("s", "x", "z")):
        return word
    if word.endswith(("au", "eu")):
        return word + "x"
    if word.endswith("al"):
        return word[:-1] + "ux"
    return word + "s"


def french_feminine(word: str) -> str:
    """Regular feminine of an adjective."""
    endings = {"eux": "euse", "er": "ère", "if": "ive", "el": "elle", "ien": "ienne"}
    endings |= {"éen": "éenne", "on": "onne", "os": "osse", "gros": "grosse"}
    for ending, feminine in endings.items():
        if word.endswith(ending):
            return word[: -len(ending)] + feminine
    return word if word.endswith("e") else word + "e"


def french_forms(words: Sequence[str]) -> tuple[tuple[str, str, str, str], str]:
    """The four agreeing forms of `masculine [feminine [plural]]` and the form before a vowel."""
    masculine, _, before_vowel = words[0].partition("/")
    feminine = words[1] if len(words) > 1 else french_feminine(masculine)
    plural = words[2] if len(words) > 2 else french_plural(masculine)
    return (masculine, feminine, plural, feminine + "s"), before_vowel or masculine


def french_verb(words: Sequence[str], data: Table) -> FrenchVerb:
    """`infinitive [être] [imparfait] [à|de]`, conjugated by the longest ending that the data file lists."""
    infinitive, flags = words[0], words[1:]
    endings = [ending for ending in data["french_verbs"] if infinitive.endswith(ending)]
    if not endings:
        raise UserError(f"{DATA_FILE.name}: no French conjugation for {infinitive!r}")
    ending = max(endings, key=len)
    model, stem = data["french_verbs"][ending], infinitive[: -len(ending)]
    participle = stem + model["participle"]
    plural = participle if participle.endswith("s") else participle + "s"
    future = stem + model["future"]
    imparfait = stem + model["present"][2].removesuffix("ons")
    state = data["french"]["imparfait_endings"] if "imparfait" in flags else []
    return FrenchVerb(
        present=tuple(stem + form for form in model["present"]),
        future=tuple(future + form for form in data["french"]["future_endings"]),
        infinitive=infinitive,
        imparfait=tuple(imparfait + form for form in state),
        participle=(participle, participle + "e", plural, participle + "es"),
        with_be="être" in flags,
        governs=next((flag for flag in flags if flag in ("à", "de")), ""),
    )


# --- German ------------------------------------------------------------------------------------


def german_noun(words: Sequence[str]) -> tuple[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Gender and the eight case forms of `singular gender plural [weak] [gen=...]`."""
    singular, gender, plural = words[:3]
    oblique, genitive = singular, singular
    if "weak" in words:
        # the n-declension puts the same ending on every oblique case: den Studenten, den Kunden
        oblique = genitive = singular + ("n" if singular.endswith(("e", "er", "ar")) else "en")
    elif gender != "f":
        genitive = german_genitive(singular)
    for flag in words[3:]:
        if flag.startswith("gen="):
            genitive = flag[4:]
    dative = plural if plural.endswith(("n", "s")) else plural + "n"
    return gender, ((singular, oblique, oblique, genitive), (plural, plural, dative, plural))


def german_genitive(noun: str) -> str:
    """-nisses, -es after a hiss or in one syllable (Hauses, Mannes), -s otherwise."""
    if noun.endswith("nis"):
        return noun + "ses"
    if noun.endswith("ss") or noun.endswith(("ß", "x", "z", "s")):
        return noun + "es"
    syllables = len(re.findall(r"[aeiouyäöü]+", noun.lower()))
    return noun + ("es" if syllables == 1 and noun[-1] not in "aeiouy" else "s")


def german_adjective(word: str) -> dict[str, str]:
    """Predicative form under "", then every ending; `teuer=teur` names the stem."""
    predicative, _, stem = word.partition("=")
    stem = stem or predicative.removesuffix("e")
    return {"": predicative} | {ending: stem + ending for ending in ("e", "en", "er", "es", "em")}


def german_weak(stem: str) -> tuple[str, str, str]:
    """Third person, past and participle (without ge-) of a weak verb, with its linking e."""
    link = "e" if re.search(r"([dt]|[^aeiouäöülrhmn][mn])$", stem) else ""
    return f"{stem}{link}t", f"{stem}{link}te", f"{stem}{link}t"


def german_verb(words: Sequence[str], data: Table) -> GermanVerb:
    """`aus.schalten`, or with principal parts `nehmen nimmt nahm genommen`, then `sein`, `dat`."""
    prefix, _, infinitive = words[0].rpartition(".")
    parts = [word for word in words[1:] if word not in ("sein", "dat")]
    stem = infinitive[:-2] if infinitive.endswith("en") else infinitive[:-1]
    if parts:
        third, past, participle = parts
    else:
        third, past, bare = german_weak(stem)
        inseparable = infinitive.startswith(tuple(data["german"]["inseparable"]))
        participle = bare if inseparable or stem.endswith("ier") else "ge" + bare
    first = stem[:-2] + "le" if stem.endswith("el") else stem + "e"
    if infinitive == "wissen":
        first = third
    plural_past = past + ("n" if past.endswith("e") else "en")
    return GermanVerb(
        prefix=prefix,
        present=(first, third, infinitive, infinitive, infinitive),
        past=(past, past, plural_past, plural_past, plural_past),
        infinitive=prefix + infinitive,
        zu_infinitive=f"{prefix}zu{infinitive}" if prefix else f"zu {infinitive}",
        participle=prefix + participle,
        with_be="sein" in words,
        case=DATIVE if "dat" in words else ACCUSATIVE,
    )


# --- entries -----------------------------------------------------------------------------------


def read_noun(line: str, kind: str, data: Table) -> Noun:
    """A noun entry; raises UserError where a gender is missing or unknown."""
    english, french, german = split_entry(line)
    if len(french) < 2 or french[1] not in "mf" or len(german) < 3 or german[1] not in "mfn":
        raise UserError(f"{DATA_FILE.name}: noun {line!r} needs genders and a German plural")
    gender, forms = german_noun(german)
    stems = data["french"]["aspirated"]
    plural = french[2] if len(french) > 2 else french_plural(french[0])
    return Noun(
        kind=kind,
        en=(english[0], english[1] if len(english) > 1 else english_s(english[0])),
        fr=(aspirate(french[0], stems), aspirate(plural, stems)),
        fr_feminine=french[1] == "f",
        de=forms,
        de_gender=gender,
    )


def read_adjective(line: str, group: str, spec: Table, data: Table) -> Adjective:
    """An adjective entry of the group `spec`."""
    english, french, german = split_entry(line)
    forms, before_vowel = french_forms(french)
    marked = tuple(aspirate(form, data["french"]["aspirated"]) for form in forms)
    return Adjective(
        group=group,
        rank=spec["rank"],
        before=spec.get("before", False),
        en=" ".join(english),
        fr=(marked[0], marked[1], marked[2], marked[3]),
        fr_vowel=before_vowel,
        de=german_adjective(german[0]),
    )


def read_verb(line: str, group: str, data: Table) -> Verb:
    """A verb entry of the list `group`."""
    english, french, german = split_entry(line)
    return Verb(group, english_verb(english), french_verb(french, data), german_verb(german, data))


def german_determiner(name: str, spec: Table, german: Table) -> dict[str, tuple[str, ...]]:
    """Forms by gender key and case; the indefinite article and numerals have no plural form."""
    if spec["de"] == "der":
        return {gender: tuple(row) for gender, row in german["article"].items()}
    kind = "ein" if spec["declension"] == "mixed" else "der"
    forms = {
        gender: tuple(spec["de"] + ending.replace("-", "") for ending in row)
        for gender, row in german["endings"][kind].items()
    }
    if name in ("a", "numeral"):
        forms["p"] = ("", "", "", "")
    return forms


def read_determiner(name: str, spec: Table, german: Table) -> Determiner:
    """A determiner with the endings it asks of a German adjective."""
    adjective = german["adjective"]
    endings = {gender: tuple(row) for gender, row in adjective[spec["declension"]].items()}
    if name == "a":  # no article in the plural, so the adjective carries the case itself
        endings["p"] = tuple(adjective["strong"]["p"])
    masculine, feminine, vowel, plural = spec["fr"]
    return Determiner(
        name=name,
        en=tuple(spec["en"]),
        fr=(masculine, feminine, vowel),
        fr_plural=(plural, spec.get("fr_f", plural)),
        de=german_determiner(name, spec, german),
        endings=endings,
    )


def read_pronoun(spec: Table) -> Pronoun:
    """A pronoun row of the data file."""
    return Pronoun(
        person=spec["person"],
        feminine=spec["gender"] == "f",
        plural=spec["plural"],
        en=tuple(spec["en"]),
        fr=tuple(spec["fr"]),
        de=tuple(spec["de"]),
    )


def read_preposition(spec: Table) -> Preposition:
    """A preposition row of the data file."""
    after = tuple(spec.get("after", ()))
    return Preposition(spec["en"], spec["fr"], spec["de"], CASES[spec["case"]], after, tuple(spec["object"]))


def content_lists(data: Table) -> dict[str, list[str]]:
    """Every list of content words by its name in the data file, in rank order."""
    lists: dict[str, list[str]] = {}
    for part in ("nouns", "adverbs"):
        lists |= {f"{part}.{name}": entries for name, entries in data[part].items()}
    for part in ("adjectives", "verbs"):
        lists |= {f"{part}.{name}": spec["words"] for name, spec in data[part].items()}
    return lists | {f"names.{name}": entries for name, entries in data["names"].items()}


def kept_counts(sizes: Iterable[int], total: int) -> list[int]:
    """How many words of each list to keep so that about `total` remain, two of each at least.

    Raises UserError where even two of each are too many.
    """
    sizes = list(sizes)
    if total < 2 * len(sizes):
        raise UserError(f"the builtin lexicon cannot be cut to {total} words; ask for {2 * len(sizes)}")
    everything = sum(sizes)
    for permille in range(1000, -1, -1):
        kept = [max(2, size * permille // 1000) for size in sizes]
        if sum(kept) <= min(total, everything):
            return kept
    return [2 for _ in sizes]


class Lexicon:
    """Everything the grammar may draw, inflected, cut to a size, ready to pick from.

    `total` is the approximate number of content words kept per language, `words_per_class` a number
    kept of every list; None keeps all. Numbers, dates and times are cut in proportion.
    """

    def __init__(self, total: int | None = None, words_per_class: int | None = None) -> None:
        self.data = load_data()
        lists = content_lists(self.data)
        self.sizes = self._sizes(lists, total, words_per_class)
        everything = sum(len(entries) for entries in lists.values())
        self.share = sum(self.sizes.values()) / everything
        self.nouns = {
            kind: Choice([read_noun(e, kind, self.data) for e in self._head(f"nouns.{kind}", entries)])
            for kind, entries in self.data["nouns"].items()
        }
        self._read_adjectives()
        self._read_verbs()
        self._read_fixed()
        self._read_names()
        self._read_function_words()

    @staticmethod
    def _sizes(lists: Mapping[str, Sequence[str]], total: int | None, per_class: int | None) -> dict[str, int]:
        """Words kept of every list; raises UserError for a size that leaves nothing to say."""
        sizes = {name: len(entries) for name, entries in lists.items()}
        if per_class is not None:
            if per_class < 1:
                raise UserError(f"words_per_class is {per_class}; it must be at least 1")
            sizes = {name: min(size, per_class) for name, size in sizes.items()}
        if total is not None:
            sizes = dict(zip(sizes, kept_counts(sizes.values(), total), strict=True))
        return sizes

    def _head(self, name: str, entries: Sequence[str]) -> Sequence[str]:
        return entries[: self.sizes[name]]

    def _few(self, entries: Sequence[Item], least: int) -> list[Item]:
        """The same share of a list that is not counted as content words, `least` at least."""
        return list(entries[: max(least, round(len(entries) * self.share))])

    def _read_adjectives(self) -> None:
        self.adjectives: list[AdjectiveGroup] = []
        for name, spec in self.data["adjectives"].items():
            words = self._head(f"adjectives.{name}", spec["words"])
            choice = Choice([read_adjective(line, name, spec, self.data) for line in words])
            nouns = tuple(spec["nouns"])
            self.adjectives.append(AdjectiveGroup(name, spec["rank"], spec["weight"], nouns, spec["predicate"], choice))

    def _read_verbs(self) -> None:
        self.verbs: list[VerbGroup] = []
        for name, spec in self.data["verbs"].items():
            words = self._head(f"verbs.{name}", spec["words"])
            verbs = Choice([read_verb(line, name, self.data) for line in words])
            subject, direct = tuple(spec["subject"]), tuple(spec.get("object", ()))
            indirect = tuple(spec.get("indirect", ()))
            self.verbs.append(VerbGroup(name, spec["frame"], spec["weight"], subject, direct, indirect, verbs))

    def _read_fixed(self) -> None:
        stems = self.data["french"]["aspirated"]
        self.adverbs = {
            name: Choice([fixed(line) for line in self._head(f"adverbs.{name}", entries)])
            for name, entries in self.data["adverbs"].items()
        }
        times = self.data["times"]
        self.times = {"any": Choice([fixed(line) for line in self._few(times["any"], 4)])}
        # the words for one tense come first, so that a cut lexicon keeps them
        for name in ("present", "past", "future"):
            merged = [x for pair in zip(times[name], times["any"], strict=False) for x in pair]
            merged += times["any"][len(times[name]) :]
            self.times[name] = Choice([fixed(line) for line in self._few(merged, 4)])
        numerals = [Fixed(f.en, aspirate(f.fr, stems), f.de) for f in numbers()]
        self.numbers = Choice(self._few(numerals, 10))
        self.dates = {tense: Choice(self._few(dates(tense), 8)) for tense in ("past", "future")}
        self.hours = Choice(self._few(hours(), 4))

    def _read_names(self) -> None:
        names = self.data["names"]
        people: list[Name] = []
        first = [entry.split() for entry in self._head("names.first", names["first"])]
        for word, gender in first:
            people.append(Name(word, word, (word,) * 4, gender == "f"))
        self.first_names = Choice(people)
        titled: list[Name] = []
        for word in self._head("names.surname", names["surname"]):
            mister = (f"Herr {word}",) + (f"Herrn {word}",) * 3
            titled.append(Name(f"Mr. {word}", f"M. {word}", mister, False))
            titled.append(Name(f"Mrs. {word}", f"Mme {word}", (f"Frau {word}",) * 4, True))
        self.surnames = Choice(titled)
        self.cities = Choice([fixed(e) for e in self._head("names.city", names["city"])])
        self.countries = Choice([fixed(e) for e in self._head("names.country", names["country"])])

    def _read_function_words(self) -> None:
        data = self.data
        specs = data["determiners"]
        self.determiners = {name: read_determiner(name, spec, data["german"]) for name, spec in specs.items()}
        weights = {name: spec["weight"] for name, spec in specs.items()}
        by_number = {
            plural: [n for n, spec in specs.items() if spec["number"] in ("both", number)]
            for plural, number in ((False, "singular"), (True, "plural"))
        }
        self.determiner_choice = {
            plural: Choice([self.determiners[n] for n in names], [weights[n] for n in names])
            for plural, names in by_number.items()
        }
        definite = [n for n, spec in specs.items() if self.determiners[n].definite]
        self.definite_choice = Choice([self.determiners[n] for n in definite], [weights[n] for n in definite])
        self.pronouns = Choice(
            [read_pronoun(spec) for spec in data["pronouns"]],
            [spec["weight"] for spec in data["pronouns"]],
        )
        places = data["prepositions"]
        self.noun_prepositions = [read_preposition(spec) for spec in places["noun"]]
        self.place_prepositions = Choice([read_preposition(spec) for spec in places["place"]])
        self.of_kinds: dict[str, tuple[str, ...]] = {kind: tuple(kinds) for kind, kinds in places["of"].items()}


# --- numbers and dates, through num2words and babel ------------------------------------------------


@functools.lru_cache(maxsize=1)
def numbers() -> list[Fixed]:
    """Numerals before a plural noun, the commonest first: words below 1,000, then figures.

    No number ends in one (but eleven), because French would have to agree (vingt et une voitures).
    """
    from babel.numbers import format_decimal
    from num2words import num2words

    small = [*range(2, 13), 20, 15, 30, 50, 100, 40, 14, 25, 60, 200, 18, 16, 13, 300, 80, 500]
    more = [n for n in range(17, 1000, 7) if n % 10 != 1 and n not in small]
    figures = [n for n in range(1200, 60000, 650) if n % 10 != 1]
    found = [Fixed(*(num2words(n, lang=lang) for lang in ("en", "fr", "de"))) for n in small + more]
    for number in figures:
        english, french, german = (format_decimal(number, locale=tag) for tag in ("en", "fr", "de"))
        # the locale's narrow no-break space would be one more kind of blank for every reader of the text
        found.append(Fixed(english, re.sub(r"\s", " ", french), german))
    return found


@functools.lru_cache(maxsize=2)
def dates(tense: str) -> list[Fixed]:
    """Years and days that suit `tense` (past or future), written out as each language does.

    The days run from 2 to 28: French writes the first of a month in its own way (1er).
    """
    from datetime import date

    from babel.dates import format_date

    first, years = (1950, 64) if tense == "past" else (2031, 40)
    found: list[Fixed] = []
    for step in range(150):
        year = first + step * 29 % years
        if step < years:
            found.append(Fixed(f"in {year}", f"en {year}", f"im Jahr {year}"))
        day = date(year, 1 + step * 7 % 12, 2 + step * 11 % 27)
        english, french, german = (format_date(day, format="long", locale=tag) for tag in ("en", "fr", "de"))
        found.append(Fixed(f"on {english}", f"le {french}", f"am {german}"))
    return found


@functools.lru_cache(maxsize=1)
def hours() -> list[Fixed]:
    """Full hours from two to twelve (one o'clock would need French `une heure`, German `ein Uhr`)."""
    from num2words import num2words

    found: list[Fixed] = []
    for hour in (8, 10, 9, 7, 6, 3, 5, 4, 2, 11):
        english, french, german = (num2words(hour, lang=lang) for lang in ("en", "fr", "de"))
        found.append(Fixed(f"at {english} o'clock", f"à {french} heures", f"um {german} Uhr"))
    return found
