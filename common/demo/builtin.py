"""The builtin corpus: an endless English-French-German parallel text from a grammar in this repository.

It needs no download, so that everything from tokenising to attention figures can be tried at once. A
random tree (`Sampler`) is realised in three languages (`builtin_grammar`); words are drawn by Zipf's
law over the lists of `builtin.yaml`. The same seed gives the same sentences on every Python version:
the only source of chance is `random.Random(seed).random()`.

    python -m common.demo.builtin --count 10 --seed 1 --lexicon 100 --max-words 16
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

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
    english_sentence,
    french_sentence,
    german_sentence,
)
from common.demo.builtin_lexicon import (
    Adjective,
    AdjectiveGroup,
    Choice,
    Determiner,
    Fixed,
    Lexicon,
    Pronoun,
    Verb,
    VerbGroup,
)
from common.errors import UserError

# This many trees in a row without a new sentence of an allowed length mean there are no more to find.
PATIENCE = 20_000
SHORTEST = 3
# Tokens as Moses counts them: marks stand alone, except inside numbers and after Mr. and Mrs.
_TOKEN = re.compile(r"Mrs?\.|[\w-]+(?:[.,]\d+)*|'\w+|[^\w\s]")


@dataclass(frozen=True)
class Triple:
    """One sentence in three languages, untokenised."""

    en: str
    fr: str
    de: str


def count_words(english: str) -> int:
    """Tokens of an English sentence, punctuation included, as the Moses tokeniser counts them."""
    return len(_TOKEN.findall(english))


def length_choice(min_words: int, max_words: int) -> Choice[int]:
    """The lengths to aim at: flat over a narrow range, else a hump near 15 with a long tail."""
    if max_words - min_words < 24:
        # phrases fall short of their share more often than they exceed it, so aim a little further
        lengths = range(min_words, min(60, max_words + 1 + (max_words - min_words) // 4) + 1)
        return Choice(lengths, [1.0 + 0.08 * (length - min_words) for length in lengths])
    lengths = range(min_words, min(60, max_words) + 1)
    return Choice(lengths, [n * math.exp(-n / 11.0) + 0.05 for n in lengths])


@dataclass
class Budget:
    """English words still to spend in a sentence part; `spend` takes a share of them."""

    words: float

    def spend(self, words: float) -> float:
        """Takes `words` out and returns them."""
        self.words -= words
        return words


class Sampler:
    """Draws random trees from the grammar. `constructions` names the sentence rules to use, or all."""

    def __init__(self, lexicon: Lexicon, seed: int, constructions: Collection[str] | None = None) -> None:
        self.lexicon = lexicon
        self.random: Callable[[], float] = random.Random(seed).random
        rules = lexicon.data["sentences"]
        unknown = sorted(set(constructions or ()) - set(rules))
        if unknown:
            raise UserError(f"builtin corpus: no sentence rule {unknown[0]!r}; one of {sorted(rules)}")
        self.rules = {n: rule for n, rule in rules.items() if not constructions or n in constructions}
        self._rules_for_length: dict[int, Choice[str] | None] = {}
        self._group_choices: dict[tuple[str, ...], Choice[VerbGroup]] = {}
        tenses = lexicon.data["tenses"]
        self.tenses = Choice(list(tenses), [spec["weight"] for spec in tenses.values()])
        self._index_frames()

    def _index_frames(self) -> None:
        """Groups of verbs and adjectives by what they combine with."""
        groups, adjectives = self.lexicon.verbs, self.lexicon.adjectives
        self.verbs_with_object = {
            kind: [g for g in groups if g.frame == "transitive" and kind in g.object] for kind in self.lexicon.nouns
        }
        self.verbs_with_subject = {
            kind: [g for g in groups if g.frame in ("transitive", "intransitive") and kind in g.subject]
            for kind in self.lexicon.nouns
        }
        self.adjectives_for = {
            kind: self.adjective_groups([g for g in adjectives if kind in g.nouns]) for kind in self.lexicon.nouns
        }
        self.predicates = self.adjective_groups([g for g in adjectives if g.predicate])

    # --- drawing -------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.random() < probability

    def one(self, items: Sequence[str]) -> str:
        """One of a few strings, all alike."""
        return items[int(self.random() * len(items))]

    def group(self, groups: Sequence[VerbGroup]) -> VerbGroup:
        """One of the verb groups by weight."""
        key = tuple(group.name for group in groups)
        if key not in self._group_choices:
            self._group_choices[key] = Choice(groups, [group.weight for group in groups])
        return self._group_choices[key].pick(self.random())

    @staticmethod
    def adjective_groups(groups: Sequence[AdjectiveGroup]) -> Choice[AdjectiveGroup]:
        """Groups of adjectives by weight."""
        return Choice(groups, [group.weight for group in groups])

    def verb(self, group: VerbGroup, tense: str) -> Verb:
        """A verb of the group; none whose English would not show the past.

        Ends, because the data file keeps such verbs from the head of a list.
        """
        verb = group.verbs.pick(self.random())
        while tense == "past" and verb.ambiguous:
            verb = group.verbs.pick(self.random())
        return verb

    # --- sentences -----------------------------------------------------------------------------

    def sentence(self, length: int) -> Sentence | None:
        """A tree of about `length` English tokens; None where no rule serves that length."""
        if length not in self._rules_for_length:
            fitting = {n: r for n, r in self.rules.items() if r["words"][0] <= length <= r["words"][1]}
            weights = [rule["weight"] for rule in fitting.values()]
            self._rules_for_length[length] = Choice(list(fitting), weights) if fitting else None
        choice = self._rules_for_length[length]
        if choice is None:
            return None
        name = choice.pick(self.random())
        template = self.rules[name]["en"].split()
        slots = [token.partition(":")[0] for token in template if token[0] == "C"]
        tenses = self._tenses(self.rules[name].get("tenses"), len(slots))
        front = self._front(tenses[0]) if "T" in template else None
        fixed = len(template) - len(slots)
        budget = Budget(length - fixed - (len(front.en.split()) - 1 if front else 0))
        clauses: list[Clause] = []
        for index, tense in enumerate(tenses):
            left = len(tenses) - index
            share = budget.words if left == 1 else budget.words / left * (0.7 + 0.6 * self.random())
            question = name in ("question", "why")
            timed = front is None and not question
            clauses.append(self.clause(budget.spend(share), tense, timed, left == 1, question))
        return Sentence(name, tuple(clauses), front)

    def _tenses(self, rule: str | list[str] | None, count: int) -> list[str]:
        """The clauses' tenses: free, all the same, or as the rule says."""
        if isinstance(rule, list):
            return rule
        if rule == "same":
            return [self.tenses.pick(self.random())] * count
        return [self.tenses.pick(self.random()) for _ in range(count)]

    def _front(self, tense: str) -> Fixed:
        """A time or a comment to open the sentence with."""
        if self.chance(0.25):
            return self.lexicon.adverbs["comment"].pick(self.random())
        return self.time(tense)

    def time(self, tense: str) -> Fixed:
        """A time that the tense allows; a fifth are dates and years, a twelfth hours."""
        when = {"present": "present", "past": "past", "future": "future"}.get(tense, "any")
        lexicon, lot = self.lexicon, self.random()
        if when in lexicon.dates and lot < 0.2:
            return lexicon.dates[when].pick(self.random())
        if lot > 0.92:
            return lexicon.hours.pick(self.random())
        return lexicon.times[when].pick(self.random())

    # --- clauses -------------------------------------------------------------------------------

    def clause(self, words: float, tense: str, timed: bool, last: bool, question: bool) -> Clause:
        """A main or subordinate clause of about `words` English words.

        `timed` allows a time at its end; only the `last` clause of a sentence may report another
        clause, because what follows could otherwise belong to either.
        """
        words -= tense not in ("present", "past")
        lot = self.random() * 100
        if lot < 14 and words >= 3:
            return self.copula(words, tense, question)
        if lot < 19 and words >= 7 and tense in self.lexicon.data["existential"] and not question:
            return self.existential(words, tense)
        if lot < 32 and words >= 7:
            passive = self.passive(words, tense)
            if passive:
                return passive
        groups = [g for g in self.lexicon.verbs if self._affordable(g, words, tense, last, question)]
        return self.verbal(self.group(groups), Budget(words - 1), tense, timed, question)

    @staticmethod
    def _affordable(group: VerbGroup, words: float, tense: str, last: bool, question: bool) -> bool:
        """True where a clause of `words` has room for the frame, and is not much too long for it.

        Nobody reports in the past: French and English would disagree on the tense of what follows.
        """
        if group.frame == "reporting":
            return words >= 7 and last and tense != "past" and not question
        if group.frame == "ditransitive":
            return words >= 7
        if group.frame == "intransitive":
            least = 3 if group.name == "event" else 2
            return least <= words <= 16 or words < 3
        return 4 <= words

    def verbal(self, group: VerbGroup, budget: Budget, tense: str, timed: bool, question: bool) -> Clause:
        """A clause around a full verb: first what is optional, then the phrases share the rest."""
        verb = self.verb(group, tense)
        clause = Clause(group.frame, tense, None, verb)
        if group.frame == "reporting":
            return self.report(clause, group, budget)
        clause.negated = not question and tense not in ("must", "perfect") and self.chance(0.1)
        budget.words -= 2 * clause.negated
        needs = 2 + 2 * bool(group.object) + 3 * bool(group.indirect)
        if not clause.negated:
            self._adverbs(clause, group, budget, needs)
        self._settings(clause, budget, needs, timed)
        if group.frame == "transitive" and "person" in group.object and self.chance(0.2):
            clause.clitic = self.object_pronoun()
            budget.words -= 1
            clause.subject = self.subject(group.subject, budget.words, clause.clitic, closed=True)
            return clause
        self._phrases(clause, group, budget)
        return clause

    def _phrases(self, clause: Clause, group: VerbGroup, budget: Budget) -> None:
        """Subject and objects, each with a share of the budget."""
        count = 1 + bool(group.object) + bool(group.indirect)
        share = budget.words if count == 1 else budget.words * (0.2 + 0.35 * self.random())
        # "the boys who sleep often sing" would leave open who does what often
        adverb = bool(clause.frequency or clause.manner)
        words = budget.spend(max(1.0, share))
        clause.subject = self.subject(group.subject, words, closed=adverb)
        if not group.object:
            return
        ends = clause.place is None and clause.time is None
        if group.indirect:
            budget.words -= 1
            clause.object = self.phrase(group.object, budget.spend(budget.words / 2), simple=True)
            clause.indirect = self.phrase(group.indirect, budget.words, closed=not ends)
            return
        if ends and clause.manner is None and self._has_purpose(group, budget):
            share = budget.spend(4 + 2 * self.random())
            clause.purpose = self.purpose(share - 3)
        negated = clause.negated
        clause.object = self.phrase(group.object, budget.words, closed=not ends, definite=negated)

    def _has_purpose(self, group: VerbGroup, budget: Budget) -> bool:
        return group.subject == ("person",) and budget.words > 9 and self.chance(0.3)

    def purpose(self, words: float) -> Clause:
        """What somebody does it for: `in order to` and a verb with its object."""
        groups = [g for g in self.lexicon.verbs if g.name in ("handle", "read", "debate", "tour")]
        group = self.group(groups)
        inner = self.phrase(group.object, words, simple=True)
        return Clause("transitive", "present", None, group.verbs.pick(self.random()), inner)

    def report(self, clause: Clause, group: VerbGroup, budget: Budget) -> Clause:
        """Who says, and what: the reported clause gets most of the words."""
        clause.subject = self.subject(group.subject, budget.spend(min(3.0, budget.words * 0.25)))
        tense = self.tenses.pick(self.random())
        clause.reported = self.clause(budget.words - 1, tense, True, budget.words > 12, False)
        return clause

    def _adverbs(self, clause: Clause, group: VerbGroup, budget: Budget, needs: int) -> None:
        """An adverb of frequency or of manner, not both."""
        state = clause.verb is not None and bool(clause.verb.fr.imparfait)
        if state or budget.words <= needs or not self.chance(0.25):
            return  # nobody knows somebody quickly
        manner = "person" in group.subject and self.chance(0.6)
        choice = self.lexicon.adverbs["manner" if manner else "frequency"]
        budget.words -= 1
        if manner:
            clause.manner = choice.pick(self.random())
        else:
            clause.frequency = choice.pick(self.random())

    def _settings(self, clause: Clause, budget: Budget, needs: int, timed: bool) -> None:
        """A time and a place, where the rule has a slot for them and there are words left."""
        if timed and not clause.negated and budget.words >= needs + 3 and self.chance(0.25):
            clause.time = self.time(clause.tense)
            budget.words -= len(clause.time.en.split())
        if clause.frame == "ditransitive" or clause.negated or clause.frame == "reporting":
            return
        if self._place_fits(clause) and budget.words >= needs + 3 and self.chance(0.25):
            clause.place = self.place(budget)

    @staticmethod
    def _place_fits(clause: Clause) -> bool:
        """Not behind verbs of motion, nor with a place, person or idea as the object."""
        assert clause.verb is not None
        moves = clause.verb.fr.with_be or clause.verb.de.with_be
        return not moves and clause.verb.group not in ("tour", "debate", "event", "meet")

    def place(self, budget: Budget) -> PrepPhrase | Fixed:
        """`in Paris`, `in Japan`, `behind the old house`."""
        lot = self.random()
        if lot < 0.25:
            city = self.lexicon.cities.pick(self.random())
            budget.words -= 2
            return Fixed(f"in {city.en}", f"à {city.fr}", f"in {city.de}")
        if lot < 0.4:
            budget.words -= 2
            return self.lexicon.countries.pick(self.random())
        preposition = self.lexicon.place_prepositions.pick(self.random())
        words = budget.spend(min(4.0, 3 + self.random() * 2))
        inner = self.noun_phrase("place", words - 1, simple=True, definite=True)
        return PrepPhrase(preposition, inner)

    def copula(self, words: float, tense: str, question: bool) -> Clause:
        """`The old car is red`: somebody or something is of some quality."""
        group = self.predicates.pick(self.random())
        kind = self.one(group.nouns)
        adjectives = [group.adjectives.pick(self.random())]
        if words >= 6 and self.chance(0.2):
            second = group.adjectives.pick(self.random())
            if second is not adjectives[0]:
                adjectives.append(second)
        negated = not question and self.chance(0.1)
        budget = Budget(words - 1 - len(adjectives) - negated)
        clause = Clause("copula", tense, None, predicate=tuple(adjectives), negated=negated)
        if budget.words >= 3 and not negated and group.name == "character" and self.chance(0.3):
            clause.frequency = self.lexicon.adverbs["frequency"].pick(self.random())
            budget.words -= 1
        closed = clause.frequency is not None
        clause.subject = self.subject((kind,), budget.words, avoid=tuple(adjectives), closed=closed)
        return clause

    def existential(self, words: float, tense: str) -> Clause:
        """`There are three lamps in the kitchen`."""
        kind = "thing" if self.chance(0.6) else "person"
        budget = Budget(words - 2)
        place = self.place(budget)
        determiners = self.lexicon.determiners
        plural = self.chance(0.55)
        names = ("a", "many", "several", "some", "numeral") if plural else ("a",)
        determiner = determiners[self.one(names)]
        there = self.noun_phrase(kind, budget.words, determiner=determiner, plural=plural, closed=True)
        return Clause("existential", tense, None, object=there, place=place)

    def passive(self, words: float, tense: str, gap: Gap | None = None, kind: str = "") -> Clause | None:
        """`The report was written by the minister`; None if the verb drawn has no passive."""
        groups = self.verbs_with_object[kind or self.one(tuple(self.lexicon.nouns))]
        if not groups:
            return None
        group = self.group(groups)
        verb = group.verbs.pick(self.random())
        if not verb.passive:
            return None
        budget = Budget(words - 3)
        clause = Clause("passive", tense, gap, verb)
        if gap is None:
            share = budget.spend(max(2.0, budget.words * (0.3 + 0.3 * self.random())))
            clause.subject = self.phrase(group.object, share, named=False)
        clause.object = self.phrase(group.subject, budget.words, closed=gap is not None)
        return clause

    # --- phrases -------------------------------------------------------------------------------

    def object_pronoun(self) -> Pronoun:
        """Him, her, us, them; not `I`/`me` before a subject `I` (see `subject`)."""
        return self.lexicon.pronouns.pick(self.random())

    def subject(
        self,
        kinds: Sequence[str],
        words: float,
        other: Pronoun | None = None,
        avoid: tuple[Adjective, ...] = (),
        closed: bool = False,
    ) -> Phrase:
        """A subject: a pronoun where it is short or by chance, else a name or a noun phrase."""
        if "person" in kinds and (words < 2 or self.chance(0.22 if words < 6 else 0.05)):
            if words >= 1.5 or self.chance(0.6):
                pronoun = self.lexicon.pronouns.pick(self.random())
                # `I see me` would have to be reflexive
                if other is None or pronoun.person != other.person:
                    return PronounPhrase(pronoun)
        return self.phrase(kinds, words, avoid=avoid, closed=closed)

    def phrase(
        self,
        kinds: Sequence[str],
        words: float,
        *,
        simple: bool = False,
        closed: bool = False,
        definite: bool = False,
        named: bool = True,
        avoid: tuple[Adjective, ...] = (),
    ) -> Phrase:
        """A noun phrase, a name or a coordination of about `words` English words.

        `simple` forbids all company behind the noun, `closed` only relative clauses, `definite`
        asks for a definite determiner.
        """
        kind = self.one(tuple(kinds))
        if kind == "person" and named and self.chance(0.9 if words < 2 else 0.15 if words < 6 else 0.03):
            return self.name(words)
        if words >= 5 and not simple and not definite and self.chance(0.12):
            first = self.noun_phrase(kind, words / 2 - 0.5, simple=True, avoid=avoid)
            second = self.noun_phrase(kind, words / 2 - 0.5, simple=True, avoid=avoid)
            if first.noun is not second.noun:
                return Coordination((first, second))
        return self.noun_phrase(kind, words, simple=simple, closed=closed, definite=definite, avoid=avoid)

    def name(self, words: float) -> NamePhrase:
        """A first name, or a surname with its title."""
        titled = words >= 2 and self.chance(0.5)
        choice = self.lexicon.surnames if titled else self.lexicon.first_names
        return NamePhrase(choice.pick(self.random()))

    def noun_phrase(
        self,
        kind: str,
        words: float,
        *,
        simple: bool = False,
        closed: bool = False,
        definite: bool = False,
        nested: bool = False,
        determiner: Determiner | None = None,
        plural: bool | None = None,
        avoid: tuple[Adjective, ...] = (),
    ) -> NounPhrase:
        """A common noun with as much company as the words allow.

        `nested` is for a noun that is itself company and takes no complement of its own.
        """
        noun = self.lexicon.nouns[kind].pick(self.random())
        if plural is None:
            plural = self.chance(0.3)
        if determiner is None:
            lexicon = self.lexicon
            choice = lexicon.definite_choice if definite else lexicon.determiner_choice[plural]
            determiner = choice.pick(self.random())
        phrase = NounPhrase(noun, determiner, plural)
        budget = Budget(words - 1 - bool(determiner.en[plural]))
        if determiner.name == "numeral":
            phrase.number = self.lexicon.numbers.pick(self.random())
            budget.words -= len(phrase.number.en.split())
        wanted = self._adjective_count(budget.words, simple)
        phrase.adjectives = self.adjectives(noun.kind, wanted, avoid)
        budget.words -= len(phrase.adjectives)
        if not simple:
            self._company(phrase, budget.words, closed, nested)
        return phrase

    def _adjective_count(self, words: float, simple: bool) -> int:
        """How many adjectives; a phrase with no other company takes more of them."""
        room = int(words + 0.5)
        if room <= 0:
            return 0
        if room <= 2 or simple:
            return min(room, 3) if self.chance(0.75) else 0
        return min(3, int(self.random() * 2.6))

    def adjectives(self, kind: str, wanted: int, avoid: tuple[Adjective, ...]) -> tuple[Adjective, ...]:
        """Adjectives of different groups, in the order of English."""
        found: dict[int, Adjective] = {}
        for _ in range(wanted):
            group = self.adjectives_for[kind].pick(self.random())
            adjective = group.adjectives.pick(self.random())
            if adjective not in avoid:
                found.setdefault(group.rank, adjective)
        return tuple(found[rank] for rank in sorted(found))

    def _company(self, phrase: NounPhrase, words: float, closed: bool, nested: bool) -> None:
        """A relative clause, a genitive or a prepositional phrase behind the noun."""
        if words >= 4 and not closed and self.chance(0.6 if words < 9 else 0.95):
            phrase.relative = self.relative(phrase, words - 1)
        if phrase.relative is None and not nested and words >= 3 and self.chance(0.85):
            phrase.complement = self.complement(phrase.noun.kind, words - 1, closed)
            if phrase.complement.preposition is None and phrase.determiner.possessive:
                # "my father of his friend" says twice whose father he is
                phrase.determiner = self.lexicon.determiners["the"]

    def complement(self, kind: str, words: float, closed: bool) -> PrepPhrase:
        """`of the museum`, `with a red bag`, `about the European reform`."""
        bare = words < 6
        prepositions = [p for p in self.lexicon.noun_prepositions if kind in p.after]
        if prepositions and self.chance(0.4):
            preposition = prepositions[int(self.random() * len(prepositions))]
            chosen = self.one(preposition.object)
            inner = self.noun_phrase(chosen, words, simple=bare, closed=closed, nested=True)
            if inner.determiner.name == "every":  # without every phone: sans chaque is no French
                inner.determiner = self.lexicon.determiners["the"]
            return PrepPhrase(preposition, inner)
        kinds = self.lexicon.of_kinds[kind]
        chosen = self.one(kinds)
        if chosen == "person" and self.chance(0.3):
            return PrepPhrase(None, self.name(1))
        # only determiners that show the German genitive, and no French article to swallow
        inner = self.noun_phrase(chosen, words, simple=bare, closed=closed, nested=True, definite=True)
        return PrepPhrase(None, inner)

    def relative(self, phrase: NounPhrase, words: float) -> Relative | None:
        """A relative clause whose gap is its subject or its object; it holds no further one."""
        kind, animate = phrase.noun.kind, phrase.noun.kind == "person"
        gap = Gap(phrase.person, phrase.french)
        tense = self.tenses.pick(self.random())
        words -= tense not in ("present", "past")
        actors, acted = self.verbs_with_subject[kind], self.verbs_with_object[kind]
        lot = self.random()
        if actors and (lot < 0.5 or not acted):
            return Relative(self._acting(gap, words, tense, actors), 0, animate)
        if acted and lot < 0.85:
            return Relative(self._acted_on(gap, words, tense, acted), 1, animate)
        passive = self.passive(words, tense, gap, kind)
        return Relative(passive, 0, animate) if passive else None

    def _acting(self, gap: Gap, words: float, tense: str, groups: Sequence[VerbGroup]) -> Clause:
        """The noun does something."""
        affordable = [g for g in groups if g.frame == "transitive" or words < 4] or groups
        group = self.group(affordable)
        clause = Clause(group.frame, tense, gap, self.verb(group, tense))
        if group.object:
            clause.object = self.phrase(group.object, words - 1, closed=True)
        elif words >= 2 and group.subject == ("person",):
            clause.manner = self.lexicon.adverbs["manner"].pick(self.random())
        return clause

    def _acted_on(self, gap: Gap, words: float, tense: str, groups: Sequence[VerbGroup]) -> Clause:
        """Somebody does something to the noun; verbs with a French preposition would need `dont`."""
        group = self.group(groups)
        verb = self.verb(group, tense)
        while verb.fr.governs:
            verb = self.verb(group, tense)
        clause = Clause("transitive", tense, None, verb, object=gap)
        clause.subject = self.subject(group.subject, words - 1, closed=True)
        return clause


# --- the corpus --------------------------------------------------------------------------------


def realise(sentence: Sentence) -> Triple:
    """The tree's three sentences."""
    return Triple(english_sentence(sentence), french_sentence(sentence), german_sentence(sentence))


def _check_request(count: int, min_words: int, max_words: int) -> None:
    """Raises UserError for lengths or counts that no grammar could serve."""
    if count < 0:
        raise UserError(f"builtin corpus: {count} sentences asked for; the count must not be negative")
    if min_words > max_words:
        raise UserError(f"builtin corpus: min_words {min_words} exceeds max_words {max_words}")
    if max_words < SHORTEST:
        raise UserError(f"builtin corpus: max_words {max_words} is below the shortest, {SHORTEST}")


def _stream(sampler: Sampler, min_words: int, max_words: int, count: int) -> Iterator[Triple]:
    """`count` triples, new in each of the three languages."""
    seen: tuple[set[str], set[str], set[str]] = (set(), set(), set())
    lengths = length_choice(max(SHORTEST, min_words), max_words)
    found = failures = 0
    while found < count:
        if failures > PATIENCE:
            raise UserError(
                f"builtin corpus: only {found} of {count} different sentences of {min_words} to "
                f"{max_words} words found; ask for fewer, more words per class, or a wider range"
            )
        failures += 1
        tree = sampler.sentence(lengths.pick(sampler.random()))
        if tree is None:
            continue
        english = english_sentence(tree)
        if not min_words <= count_words(english) <= max_words or english in seen[0]:
            continue
        triple = Triple(english, french_sentence(tree), german_sentence(tree))
        if triple.fr in seen[1] or triple.de in seen[2]:
            continue
        for known, text in zip(seen, (triple.en, triple.fr, triple.de), strict=True):
            known.add(text)
        found, failures = found + 1, 0
        yield triple


def generate(
    count: int,
    seed: int,
    *,
    words_per_class: int | None = None,
    lexicon: int | None = None,
    min_words: int = SHORTEST,
    max_words: int = 60,
    constructions: Collection[str] | None = None,
) -> Iterator[Triple]:
    """`count` triples, distinct in every language; lengths in English tokens, marks included.

    `words_per_class` keeps that many words of every list, `lexicon` about that many content words in
    all; `constructions` names the sentence rules to use. Raises UserError, at once or while
    iterating, where the request cannot be met.
    """
    _check_request(count, min_words, max_words)
    sampler = Sampler(Lexicon(lexicon, words_per_class), seed, constructions)
    return _stream(sampler, min_words, max_words, count)


def build_splits(
    train: int,
    valid: int,
    test: int,
    seed: int,
    *,
    lexicon: int | None = None,
    min_words: int = SHORTEST,
    max_words: int = 60,
) -> dict[str, list[Triple]]:
    """The splits `train`, `valid`, `test`, which share no sentence in any of the three languages.

    Raises UserError where the grammar has too few sentences for the request.
    """
    total = train + valid + test
    if min(train, valid, test) < 0:
        raise UserError(f"builtin corpus: splits of {train}, {valid}, {test}; none may be negative")
    triples = list(generate(total, seed, lexicon=lexicon, min_words=min_words, max_words=max_words))
    # the commonest short sentences come early in the stream, so no split may be its beginning
    chance = random.Random(seed + 1).random
    order = sorted(range(total), key=[chance() for _ in range(total)].__getitem__)
    shuffled = [triples[index] for index in order]
    return {
        "test": shuffled[:test],
        "valid": shuffled[test : test + valid],
        "train": shuffled[test + valid :],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints triples for a look; exit status 2 for a request that cannot be met."""
    parser = argparse.ArgumentParser(prog="python -m common.demo.builtin", description="Look at it.")
    parser.add_argument("--count", type=int, default=10, help="sentences to print")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lexicon", type=int, help="content words kept per language")
    parser.add_argument("--words-per-class", type=int, help="words kept of every list")
    parser.add_argument("--min-words", type=int, default=SHORTEST, help="English tokens")
    parser.add_argument("--max-words", type=int, default=60, help="English tokens")
    options = parser.parse_args(arguments)
    try:
        for triple in generate(
            options.count,
            options.seed,
            lexicon=options.lexicon,
            words_per_class=options.words_per_class,
            min_words=options.min_words,
            max_words=options.max_words,
        ):
            print(f"en  {triple.en}\nfr  {triple.fr}\nde  {triple.de}\n")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
