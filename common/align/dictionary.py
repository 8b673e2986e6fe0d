"""UNK in a translation, replaced through the alignment (Jean et al. 2015, Luong et al. 2015).

The model does not know that this is done: it is a step after the search, and only tables that say so have it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.align.attention import Matrix
from common.align.links import Links
from common.errors import UserError
from common.files import read_text, utf8_lines, without_mark, write_whole
from common.ids import UNK

CURE = "write a source word and its translation on each line, as tokens"
"""What a message about a dictionary advises."""


@dataclass(frozen=True)
class Dictionary:
    """The best translation of each source word. Words are tokens as the tokeniser writes them: `&amp;`."""

    translations: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.translations)

    @classmethod
    def learn(cls, pairs: Iterable[tuple[Sequence[str], Sequence[str], Links]]) -> Dictionary:
        """Take for each source word the target word that it is linked with most often, of equals the first by name."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for source, target, links in pairs:
            for i, j in links:
                counts[source[i]][target[j]] += 1
        best = {word: min(found, key=lambda other: (-found[other], other)) for word, found in counts.items()}
        return cls(dict(sorted(best.items())))

    @classmethod
    def read(cls, path: Path) -> Dictionary:
        """Read a text file of two columns. Raise UserError that names the file and the line if it is none."""
        translations: dict[str, str] = {}
        lines = utf8_lines(without_mark(read_text(path, CURE).encode(), str(path)), str(path))
        for number, line in enumerate(lines, start=1):
            words = line.split()
            if len(words) != 2:
                raise UserError(f"{path}, line {number:,}: {len(words)} words where two belong; {CURE}")
            if words[0] in translations:
                raise UserError(f"{path}, line {number:,}: `{words[0]}` for the second time; keep one translation")
            translations[words[0]] = words[1]
        return cls(translations)

    def write(self, path: Path) -> None:
        """Write what `read` reads."""
        write_whole(path, "".join(f"{source}\t{target}\n" for source, target in self.translations.items()))


@dataclass(frozen=True)
class Replaced:
    """A translation without UNK."""

    tokens: tuple[str, ...]
    translated: int
    """UNKs replaced by the dictionary's word."""
    copied: int
    """UNKs replaced by the source word itself."""


def replace_unknown(
    ids: Sequence[int], tokens: Sequence[str], source: Sequence[str], alpha: Matrix, dictionary: Dictionary
) -> Replaced:
    """Replace each UNK of a translation by what stands for the source word that has its greatest weight.

    That is the dictionary's translation or, without one, the source word. The source's end token is no word and is
    passed over.
    ids, tokens (T): the translation, without EOS. source (S): the tokens, at least one. alpha: (T + 1, S + 1).
    """
    words, translated, unknown = list(tokens), 0, [i for i, word in enumerate(ids) if word == UNK]
    for i in unknown:
        looked_at = source[int(alpha[i, : len(source)].argmax())]
        words[i] = dictionary.translations.get(looked_at, looked_at)
        translated += looked_at in dictionary.translations
    return Replaced(tuple(words), translated, len(unknown) - translated)
