"""The command line of both papers: `python -m papers.<paper> VERB`."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from common.corpus.lines import lines_as_they_come
from common.errors import Terminated, UserError, raising_on_sigterm
from common.files import check_writable
from common.paper import Paper
from common.prepare.workers import end_with
from common.progress import Meter
from common.recipe import OWN_SCALE
from common.run.plan import describe, plan
from common.run.suite import SUITE, read_slots
from common.train.parallel import about_to_say, is_first, is_one_of_several, joined
from common.typed import plain

if TYPE_CHECKING:
    from common.run.folder import LoadedRun
    from common.run.unknown import Replacer

DISAGREES = 1
"""Exit status of a check that was made and does not hold."""
TERMINATED = 143
"""Exit status after SIGTERM, by the shell's convention."""
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line, like every other error here."""

    def error(self, message: str) -> NoReturn:
        about_to_say(line := f"{self.prog}: {message} (see {self.prog} --help)")
        self.exit(2, f"{line}\n")


def main(paper: Paper, arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit status.

    It is 0, 1 if `score --recover` finds that a line does not hold, 2 after a one-line error, 130 after Ctrl-C or 143
    after SIGTERM.
    """
    utf8_output()
    options = _parse(paper, arguments)
    if suite := os.environ.get(SUITE):
        end_with(int(suite))
    if is_one_of_several():
        _end_at_once(lambda: _guarded_verb(paper, options))
    return _guarded_verb(paper, options)


def _guarded_verb(paper: Paper, options: argparse.Namespace) -> int:
    """Run the verb and return the exit status. Of several processes only those that can share the work are wanted."""
    status = 0

    def work() -> None:
        nonlocal status
        if is_one_of_several() and options.verb not in (_train, _score):
            raise UserError("torchrun is for `train` and `score RUN` only; start this verb by itself")
        status = options.verb(paper, options) or 0

    return guarded(work, f"python -m papers.{paper.name}") or status


def _end_at_once(work: Callable[[], int]) -> NoReturn:
    """End this process with the status that `work` returns, or 1 after a traceback.

    The threads of torch.distributed can abort or hang Python's own way of ending, and torchrun then ends the others.
    """
    status = 1
    try:
        status = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _parse(paper: Paper, arguments: list[str] | None) -> argparse.Namespace:
    """Parse a command line. `key=value` words may stand anywhere, while argparse alone expects them at the end."""
    parser = _parser(paper)
    options, left = parser.parse_known_args(arguments)
    if hasattr(options, "overrides"):
        name = "run" if hasattr(options, "run") else "recipe"
        first = getattr(options, name)
        words = [*([] if first is None else [str(first)]), *options.overrides, *left]
        options.overrides, left = split_overrides(words)
        found = left.pop(0) if left and not left[0].startswith("-") else None
        setattr(options, name, Path(found) if found and name == "run" else found)
        if found is None and options.verb is not _score:
            parser.error(f"the following arguments are required: {name.upper()}")
    if hasattr(options, "words"):
        options.overrides, options.systems = split_overrides([*options.words, *left])
        left = [word for word in options.systems if word.startswith("-")]
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split words into those of the form `key=value`, which override recipe fields, and the others."""
    matches = [re.match(r"[\w.]+=", word) for word in words]
    return (
        [word for word, match in zip(words, matches, strict=True) if match],
        [word for word, match in zip(words, matches, strict=True) if not match],
    )


def utf8_output() -> None:
    """Make this process write UTF-8 in any locale, as it does to files. Every program here calls this first.

    What cannot be encoded is escaped on standard error. Bytes of file names that are not text pass through standard
    output unchanged. What is written to a closed output goes nowhere.
    """
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):  # a test or notebook may have put something else in its place
            stream.reconfigure(encoding="utf-8", errors=errors)


def guarded(work: Callable[[], object], program: str) -> int:
    """Call `work` and turn every foreseeable failure into one line on standard error. Return the exit status."""

    def failed(message: object) -> int:
        """Say why."""
        about_to_say(line := f"{program}: {message}")
        print(line, file=sys.stderr)
        return 2

    try:
        work()
        sys.stdout.flush()  # here and not at Python's own end, where a full disk would have no message
        return 0
    except UserError as error:
        return failed(error)
    except Terminated as stop:
        if is_first():
            print(f"{program}: {stop}", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt as stop:
        if is_first():
            how = str(stop) or "the same command goes on from the last saved state"
            print(f"\n{program}: interrupted; {how}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()  # the reader (head, less) has ended
        return 0
    except UnicodeEncodeError as error:
        name = ascii(error.object[error.start : error.end])
        return failed(f"a file name with {name} has no place in this locale; set PYTHONUTF8=1")
    except OSError as error:
        cure = (
            "free some space and run again"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "check the path and its permissions"
        )
        if not error.filename:
            _drop_output()
        return failed(f"{error.filename or 'output'}: {error.strerror or error}; {cure}")


def _drop_output() -> None:
    """Send what standard output still holds nowhere. Python would complain again when it flushes at its own end."""
    with suppress(OSError):  # a test or notebook may have put something without a file in its place
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser(paper: Paper) -> Parser:
    """Build the parser with all verbs."""
    parser = Parser(prog=f"python -m papers.{paper.name}", description=f"{paper.title}. {paper.citation}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=Parser)
    names = ", ".join(name.rpartition("/")[2] for name in paper.systems(OWN_SCALE))

    def verb(name: str, function: object, text: str, recipe: bool = False) -> argparse.ArgumentParser:
        """Add a verb with the options that several verbs share."""
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=function)
        if recipe:
            added.add_argument(
                "recipe", metavar="RECIPE", help=f"a recipe's name ({names}, demo/..., multi30k/...) or a YAML file"
            )
            _overrides(added, "recipe fields to override, dotted where two sections share a name")
        if name in ("prepare", "train", "score", "seeds", "analyse", "tables"):
            added.add_argument(
                "--runs",
                type=_path,
                default=_RUNS,
                help="folder of downloads, prepared data and runs (default: runs)",
            )
        if name in ("plan", "score"):
            added.add_argument("--json", action="store_true", help="print machine-readable JSON")
        return added

    verb("plan", _plan, "print parameters, FLOPs, steps and hours of a recipe; touches no data", recipe=True)
    preparing = verb("prepare", _prepare, "download, check, tokenise, select and encode a recipe's corpus", recipe=True)
    preparing.add_argument("--workers", type=_positive, help="processes (default: the CPU cores)")
    training = verb("train", _train, "train a recipe, or go on with a run that was stopped", recipe=True)
    training.add_argument("--out", type=_path, required=True, metavar="RUN", help="the run's folder")
    training.add_argument("--score", action="store_true", help="then average its checkpoints and score it")
    training.add_argument(
        "--tensorboard", action="store_true", help="also write RUN/tensorboard: the log, and sample translations"
    )
    averaging = verb("average", _average, "average a run's last checkpoints into the weights that are decoded")
    averaging.add_argument("run", type=_path, metavar="RUN")
    averaging.add_argument("--last", type=int, help="how many checkpoints (default: the recipe's evaluate.average)")
    translating = verb(
        "translate", _translate, "translate untokenised sentences, one a line, from standard input to standard output"
    )
    _translate_options(translating)
    scoring = verb("score", _score, "score a finished run on its test sets, or a file of hypotheses against references")
    _score_options(scoring, paper)
    scoring.usage = "\n       ".join(f"{scoring.prog} {usage}" for usage in _usages())
    seeding = verb("seeds", _seeds, "train and score systems of a scale with several seeds each, and tabulate them")
    _seeds_options(seeding, paper)
    diagnosing = verb("diagnose", _diagnose, "say where a run parts from the committed one of its recipe, and why")
    diagnosing.add_argument("run", type=_path, metavar="RUN")
    diagnosing.add_argument(
        "--with", type=_path, dest="other", metavar="OTHER", help="another run's folder or a result.json, instead"
    )
    analysing = verb("analyse", _analyse, "compare a run's attention with a statistical aligner, and its checkpoints")
    analysing.add_argument("run", type=_path, metavar="RUN")
    _overrides(analysing, _DECODING)
    exporting = verb("export", _export, "write a scored run as a folder for use elsewhere: weights, text, model card")
    _export_options(exporting, paper)
    tables = verb("tables", _tables, "rebuild the paper's tables and figures from finished runs")
    _tables_options(tables, paper)
    return parser


_RUNS = Path("runs")
"""Where downloads, prepared data and runs are unless --runs says it."""
_DECODING = "fields that no update depends on, for this once: decode.beam=1, run.device=cpu, data.corpus=..."
"""Help for overrides that hold for a single call."""


def _overrides(parser: argparse.ArgumentParser, text: str) -> None:
    """Add `key=value` words to a parser."""
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help=text)


def _replace_option(parser: argparse.ArgumentParser) -> None:
    """Add the replacement of UNK."""
    parser.add_argument(
        "--replace-unk",
        type=_path,
        metavar="DICTIONARY",
        help="replace each UNK by the translation of the source word that attention gives most weight, or else by that "
        "word itself; a text file of two columns (an empty one copies only). RUN/result.json stays without it",
    )


def _translate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `translate`."""
    parser.add_argument("run", type=_path, metavar="RUN", help="a run folder, or one that `export` made")
    _overrides(parser, _DECODING)
    _replace_option(parser)
    parser.add_argument(
        "--attention", type=_path, metavar="HTML", help="also write a page with the attention of each sentence"
    )


def _export_options(parser: argparse.ArgumentParser, paper: Paper) -> None:
    """Add the options of `export`."""
    parser.add_argument("run", type=_path, metavar="RUN")
    parser.add_argument("--out", type=_path, required=True, metavar="DIR", help="a new folder")
    own = "safetensors"
    text = f"default: {own}, which this program reads"
    parser.add_argument("--format", choices=(own, *paper.formats), default=own, help=text)


def _score_options(parser: argparse.ArgumentParser, paper: Paper) -> None:
    """Add the options of `score`."""
    parser.add_argument(
        "run", type=_path, metavar="RUN", nargs="?", help="a run folder: decode and score the sets its recipe names"
    )
    _overrides(parser, _DECODING)
    _replace_option(parser)
    parser.add_argument("--hypothesis", type=_path, metavar="F", help="detokenised hypotheses, one a line")
    parser.add_argument("--reference", type=_path, metavar="F", help="references, one a line")
    parser.add_argument("--source", type=_path, metavar="F", help="sources, one a line: adds BLEU by source length")
    parser.add_argument(
        "--recipe",
        type=_text,
        metavar="RECIPE",
        help=f"for files: score as this recipe does (default: {paper.systems(OWN_SCALE)[0]}); of KEY=VALUE files take "
        f"{', '.join(_OF_FILES)}",
    )
    parser.add_argument("--target-language", type=_code, metavar="CODE", help="of the files (default: the recipe's)")
    parser.add_argument("--lowercase", action="store_true", help="for files: score lower-cased text")
    parser.add_argument(
        "--against", type=_path, metavar="F", help="another output: adds the differences, by paired bootstrap"
    )
    parser.add_argument(
        "--laboratory",
        action="store_true",
        help="for files of plain text: every protocol of 2014 to 2026, lower-cased ones among them, step by step",
    )
    parser.add_argument("--figure", type=_png, metavar="PNG", help="with --laboratory: draw what each step is worth")
    parser.add_argument(
        "--recover",
        type=_text,
        metavar="LINE",
        help='check a printed line, "BLEU = 27.31, 59.2/33.2/20.8/13.5 (BP=1.000 ...)", against itself and, with '
        "--reference, by which tokens it was computed; exit status 1 if it does not agree or none of these gives the "
        "printed length",
    )
    parser.set_defaults(runs=None)


def _seeds_options(parser: argparse.ArgumentParser, paper: Paper) -> None:
    """Add the options of `seeds`."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="SYSTEM | KEY=VALUE",
        help="systems of the scale (default: all); recipe fields to override in every training",
    )
    parser.add_argument("--scale", required=True, choices=paper.scales, help="whose systems")
    parser.add_argument("--seeds", type=_numbers, help="default: 1,2,3")
    parser.add_argument(
        "--slots",
        type=read_slots,
        help="where trainings run side by side: a number of CPU cores, or a list such as cuda:0,cuda:0 (default: every "
        "GPU, or without one every core)",
    )


def _tables_options(parser: argparse.ArgumentParser, paper: Paper) -> None:
    """Add the options of `tables`."""
    parser.add_argument("--scale", default="demo", choices=paper.scales, help="which runs (default: demo)")
    parser.add_argument(
        "--results", type=_path, help="folder of finished runs or committed results (default: RUNS/SCALE/PAPER)"
    )
    parser.add_argument("--out", type=_path, help="where the tables and figures go (default: the results folder)")
    parser.add_argument(
        "--export", action="store_true", help="also copy the results themselves to --out, to be committed"
    )


def _plan(paper: Paper, options: argparse.Namespace) -> None:
    """Print what a recipe will cost."""
    values = plan(paper, paper.recipe(options.recipe, options.overrides))
    print(json.dumps(values, indent=2) if options.json else describe(values))


def _path(text: str) -> Path:
    """Read a path, which an empty word is not: it would stand for the working directory."""
    if not text:
        raise argparse.ArgumentTypeError("write a path")
    return Path(text)


def _text(text: str) -> str:
    """Read a word that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("write what is meant; it is empty")
    return text


def _code(text: str) -> str:
    """Read a language code, which may name a region or a script."""
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*", text):
        raise argparse.ArgumentTypeError(f"`{text}` is no language code such as de or pt-BR")
    return text


def _png(text: str) -> Path:
    """Read the path of a picture, which is written as PNG."""
    path = _path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"the picture is PNG; name it {path.with_suffix('.png')}")
    return path


def _positive(text: str) -> int:
    """Read a number from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 1 on")
    return int(text)


def _numbers(text: str) -> list[int]:
    """Read different numbers that commas separate."""
    words = text.split(",")
    if not all(re.fullmatch(r"\d{1,18}", word) for word in words) or len({*map(int, words)}) < len(words):
        raise argparse.ArgumentTypeError(f"{text} is no list of different numbers such as 1,2,3")
    return [int(word) for word in words]


# The verbs below import their modules when they run: `--help` and `plan` need not wait for what they do not use.
def _prepare(paper: Paper, options: argparse.Namespace) -> None:
    """Prepare a recipe's corpus. Print its summary, and its folder on standard output."""
    from common.prepare.summary import NAME as SUMMARY
    from common.run.folder import prepare_data

    prepared = prepare_data(paper.recipe(options.recipe, options.overrides), options.runs, options.workers)
    print((prepared.directory / SUMMARY).read_text(encoding="utf-8"), file=sys.stderr)
    print(prepared.directory)


def _train(paper: Paper, options: argparse.Namespace) -> None:
    """Train a recipe and, if asked, average and score the run."""
    from common.run.evaluate import evaluate_run, summary
    from common.run.folder import average_run, device_of, train_run

    recipe = paper.recipe(options.recipe, options.overrides)
    steps = train_run(paper, recipe, options.out, options.runs, _say, options.tensorboard)
    if is_first():
        _say(f"{recipe.name} trained: {steps:,} updates in {options.out}")
    if options.score:
        if is_first():
            average_run(options.out, recipe.evaluate.average)
        joined(device_of(recipe)).wait()
        result = evaluate_run(paper, options.out, options.runs, _say)
        if is_first():
            _say(summary(result))


def _average(paper: Paper, options: argparse.Namespace) -> None:
    """Average a run's last checkpoints."""
    from common.run.folder import average_run, read_recipe

    recipe = read_recipe(paper, options.run)
    last = options.last if options.last is not None else recipe.evaluate.average
    if last < 1:
        raise UserError(f"--last {last}: write at least 1")
    steps = ", ".join(map(str, average_run(options.run, last)))
    _say(f"{options.run / 'model.safetensors'}: mean of the checkpoints at updates {steps}")


def _translate(paper: Paper, options: argparse.Namespace) -> None:
    """Translate standard input, line by line as it comes, so that a file of any size needs little memory."""
    from common.run.evaluate import translate
    from common.run.folder import load_run
    from common.text.doubts import watched

    if options.attention and options.replace_unk:
        raise UserError("--attention draws the words that the model wrote; leave --replace-unk out")
    if options.attention:
        from common.report.web import check_page

        check_page(options.attention)
    replacer = _replacer(paper, options) if options.replace_unk else None
    run = replacer.run if replacer else load_run(paper, options.run, options.overrides, exported=True)
    if sys.stdin is None:
        raise UserError("standard input is closed; give it the sentences: translate RUN < FILE")
    meter = Meter(sys.stdin.buffer)
    lines = watched(lines_as_they_come(meter, "standard input"), "standard input", run.recipe.text.tokeniser)
    if options.attention:
        _draw_attention(paper, run, lines, options.attention)
        return
    together = 1 if sys.stdin.isatty() else 512
    done = translate(run, lines, together, replacer.tokens if replacer else None)

    def how() -> str:
        """Return how far it is, and how to go on."""
        rest = f"for the rest give it `tail -n +{meter.written + 1} FILE`"
        return f"{meter.written:,} translations are written; {rest}"

    try:
        with raising_on_sigterm(lambda: f"stopped; {how()}"):
            # A bar would stand between translations that are read on the same terminal.
            for line in done if sys.stdout.isatty() or sys.stdin.isatty() else meter.shown(done, "translating"):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
                meter.written += 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt(how()) from None
    _say(f"{options.run}: decoded with {run.decoded}")


_DRAWN = 50
"""Most sentences in a page of attention. A model of base's size has up to half a megabyte for each."""


def _draw_attention(paper: Paper, run: LoadedRun, lines: Iterator[str], out: Path) -> None:
    """Print the translations of a few lines, and write a page with the attention between both."""
    from common.report.web import write_attention
    from common.run.evaluate import attention_examples

    chosen = list(islice(lines, _DRAWN + 1))
    if not chosen or len(chosen) > _DRAWN:
        raise UserError(f"--attention draws 1 to {_DRAWN} sentences; choose some: head -n {_DRAWN} FILE")
    examples = attention_examples(paper, run, chosen)
    if not examples:
        raise UserError(f"{run.path}: {run.recipe.title} has no attention; leave --attention out")
    for example in examples:
        print(run.text.detokenise(run.text.joined(example.target[:-1])))
    pair = f"{run.recipe.data.source} to {run.recipe.data.target}"
    write_attention(
        f"{run.recipe.title}, {pair}", [f"Decoded with {run.decoded}", *_unread(run, chosen)], examples, out
    )
    _say(f"{out}: the attention of {len(examples)} sentences, decoded with {run.decoded}")


def _unread(run: LoadedRun, lines: Sequence[str]) -> list[str]:
    """Return a remark on the source words that the model does not know. Nothing if there are none."""
    from common.ids import UNK

    read = [
        pair for line in lines for pair in zip(run.text.source_tokens(line), run.text.encode_source(line), strict=True)
    ]
    unknown = dict.fromkeys(word for word, index in read if index == UNK)
    return [f"Not in the vocabulary, and read as one and the same unknown word: {', '.join(unknown)}"] * bool(unknown)


def _replacer(paper: Paper, options: argparse.Namespace) -> Replacer:
    """Return the run with the dictionary that replaces its unknown words."""
    from common.align.dictionary import Dictionary
    from common.run.folder import load_run
    from common.run.unknown import Replacer

    dictionary = Dictionary.read(options.replace_unk)
    exported = options.verb is _translate
    return Replacer(paper, load_run(paper, options.run, options.overrides, exported), dictionary)


def _score_replaced(paper: Paper, options: argparse.Namespace) -> tuple[Any, str]:
    """Return BLEU of a run's test sets before and after UNK is replaced, and the same as text. Nothing is written."""
    from common.run.folder import prepare_data
    from common.run.unknown import score_replaced, summary

    replacer = _replacer(paper, options)
    recipe = replacer.run.recipe
    prepared = prepare_data(recipe, options.runs or _RUNS)
    say = _say if is_first() else lambda line: None
    found = [score_replaced(replacer, prepared, name, say) for name in recipe.evaluate.sets]
    return found, "\n".join(summary(recipe.name, one) for one in found)


_SCORED = {
    "RUN": "[KEY=VALUE ...] [--replace-unk DICTIONARY] [--runs RUNS]",
    "--recover": "LINE [--reference F [--target-language CODE]]",
    "--laboratory": "--hypothesis F --reference F [--against F] [--target-language CODE] [--figure PNG]",
    "--hypothesis": "F --reference F [--source F] [--against F] [--recipe RECIPE] [KEY=VALUE ...] "
    "[--target-language CODE] [--lowercase]",
}
"""What `score` can be asked, by the word that asks for it, with the options it takes then. It takes no others."""
_OF_FILES = ("target", "tokeniser", "lowercase", "metric")
"""Recipe fields by which files are scored."""


def _usages() -> list[str]:
    """Return the ways to call `score`."""
    return [f"{asked} {options} [--json]" for asked, options in _SCORED.items()]


def _asked(options: argparse.Namespace) -> str:
    """Return which of the `_SCORED` is meant.

    Raise UserError for an option that it does not take, which would do nothing, and for one that it lacks.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in vars(options).items() if value not in (None, False, [])]
    given = ["RUN" if word == "--run" else word for word in given if word not in ("--verb", "--json", "--overrides")]
    asked = next((word for word in _SCORED if word in given), "--hypothesis")
    usage = f"{asked} {_SCORED[asked]}"
    unused = [word for word in given if word not in usage.replace("[", " ").replace("]", " ").split()]
    unused += options.overrides * ("KEY=VALUE" not in usage)
    if unused:
        raise UserError(f"leave {unused[0]} out of `score {usage}`, where it would do nothing")
    needed = re.sub(r"\[.*\]", "", usage).split()
    if missing := [word for word in needed if word.startswith("--") and word not in given]:
        raise UserError(f"score needs {' and '.join(missing)}: score {usage}; or a RUN folder")
    return asked


def _score(paper: Paper, options: argparse.Namespace) -> int:
    """Score a run, a file of hypotheses, or a printed line. Return the exit status."""
    asked = _asked(options)
    work = {"RUN": _score_run, "--recover": _recover, "--laboratory": _laboratory, "--hypothesis": _score_files}[asked]
    found, text = work(paper, options)
    if is_first():
        print(json.dumps(plain(found), indent=2, ensure_ascii=False) if options.json else text)
    return DISAGREES if asked == "--recover" and not found["holds"] else 0


def _score_run(paper: Paper, options: argparse.Namespace) -> tuple[Any, str]:
    """Score a run, or say what replacing its UNK is worth. Return what was found, and the same as text."""
    from common.run.evaluate import evaluate_run, summary

    if options.replace_unk:
        return _score_replaced(paper, options)
    result = evaluate_run(paper, options.run, options.runs or _RUNS, _say, options.overrides)
    return result, summary(result)


def _score_files(paper: Paper, options: argparse.Namespace) -> tuple[Any, str]:
    """Score a file of hypotheses. Return as `_score_run` does."""
    from common.score.files import score_files

    recipe = paper.recipe(options.recipe or paper.systems(OWN_SCALE)[0], options.overrides)
    fields = {word.partition("=")[0].rpartition(".")[2]: word for word in options.overrides}
    own = {"target": options.target_language and "--target-language", "lowercase": options.lowercase and "--lowercase"}
    for field, word in fields.items():
        if field not in _OF_FILES:
            raise UserError(f"leave {word} out; of a recipe's fields files are scored by {', '.join(_OF_FILES)} only")
        if own.get(field):
            raise UserError(f"give {word} or {own[field]}, not both")
    found = score_files(
        options.hypothesis,
        options.reference,
        options.source,
        recipe,
        options.target_language,
        options.lowercase,
        options.against,
    )
    return found, "\n".join(_score_lines(found))


def _laboratory(paper: Paper, options: argparse.Namespace) -> tuple[Any, str]:
    """Score a file by every protocol. Return as `_score_run` does."""
    from common.run.laboratory import laboratory_text, score_by_protocols

    if options.figure:
        check_writable(options.figure)
    files = options.hypothesis, options.reference, options.against
    found = score_by_protocols(*files, _language(paper, options), options.figure)
    return found, laboratory_text(found)


def _recover(paper: Paper, options: argparse.Namespace) -> tuple[Any, str]:
    """Check a printed line. Return as `_score_run` does."""
    from common.run.laboratory import recover_line

    if options.target_language and not options.reference:
        raise UserError("--target-language is of the references; add --reference F, or leave it out")
    return recover_line(options.recover, options.reference, _language(paper, options))


def _language(paper: Paper, options: argparse.Namespace) -> str:
    """Return the language of files that are scored without a recipe."""
    return options.target_language or paper.recipe(paper.systems(OWN_SCALE)[0], []).data.target


def _score_lines(scores: dict[str, Any]) -> list[str]:
    """Return the scores of files as lines of text."""
    from common.score.significance import chance

    lines = [f"language {scores['language']}, scored as recipe {scores['recipe']} does: {scores['tokeniser']}"]
    lines += [
        f"{name}: {score['bleu']:.2f} (95% {score['low']:.2f} to {score['high']:.2f})  [{score['signature']}]"
        for name, score in scores.items()
        if isinstance(score, dict) and "bleu" in score
    ]
    lines += [
        f"  {row['score']}, source length {row['low']}-{row['high']}: {row['bleu']:.2f} ({row['sentences']} sentences)"
        for row in scores.get("by_length", [])
    ]
    lines += [
        f"  {name} minus that of --against: {row['difference']:+.2f} "
        f"(95% {row['low']:+.2f} to {row['high']:+.2f}, paired bootstrap), p {chance(row['p'])} that it is not better"
        for name, row in scores.get("differences", {}).items()
    ]
    return lines + [f"note: {note}" for note in scores["notes"]]


def _seeds(paper: Paper, options: argparse.Namespace) -> None:
    """Train systems with several seeds."""
    from common.run.seeds import SEEDS, jobs_of, train_with_seeds

    jobs = jobs_of(paper, options.scale, options.runs, options.systems, options.overrides, options.seeds or SEEDS)
    train_with_seeds(paper, options.scale, jobs, options.runs, options.slots)


def _diagnose(paper: Paper, options: argparse.Namespace) -> None:
    """Compare a run with another one."""
    from common.run.diagnose import diagnose

    print(diagnose(paper, options.run, options.other))


def _analyse(paper: Paper, options: argparse.Namespace) -> None:
    """Analyse a run, and print where the analysis is."""
    from common.run.analyse import analyse_run

    analyse_run(paper, options.run, options.runs, _say, options.overrides)
    print(options.run / "analysis.json")


def _export(paper: Paper, options: argparse.Namespace) -> None:
    """Export a run, and print where it is."""
    from common.run.export import export_run

    export_run(paper, options.run, options.out, options.format)
    print(options.out)


def _tables(paper: Paper, options: argparse.Namespace) -> None:
    """Rebuild tables and figures from finished runs, and print the tables."""
    from common.report.results import export

    if options.results is not None and not options.results.is_dir():
        raise UserError(f"--results {options.results}: no such folder; name one of finished runs or committed results")
    results = options.results or options.runs / options.scale / paper.name
    if not results.is_dir():
        raise UserError(f"{results}: no run of this scale; train its systems first, or name another folder by --runs")
    out = options.out or results
    section = paper.build_tables(options.scale, results, out)
    if options.export:
        export(results, out)
    print(section.markdown)
    _say(f"written to {out}")


def _say(line: str) -> None:
    """Print a line on standard error. If nobody reads it any more (`2>&1 | head`), the work goes on without."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
