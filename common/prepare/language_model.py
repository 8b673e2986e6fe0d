"""Four-gram language models with a fixed vocabulary, estimated by KenLM's lmplz (Heafield et al. 2013).

The smoothing is modified Kneser-Ney, unpruned. lmplz and build_binary are taken from PATH. If they are missing, they
are compiled into the virtual environment from KenLM's source distribution, which pip downloads.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import UserError
from common.files import BLOCK, checksum, locked

ORDER = 4
MEMORY = "512M"
"""Upper limit of the sorting buffers of lmplz and build_binary. The rest goes to temporary files."""
SOURCE = "kenlm==0.3.0"
SOURCE_SHA256 = "c4628bb9fb63c8a6f9240035b8b037385cfc404cb72e933cf48878291edac1e8"
INSTALL = (
    "apt-get install build-essential cmake libboost-program-options-dev libboost-system-dev libboost-test-dev "
    "libboost-thread-dev"
)
"""Command that installs what the compilation needs on Debian and Ubuntu."""

_TOOLS = ("lmplz", "build_binary")
_STAND_IN = b"\x1a"
"""Word that replaces words outside the vocabulary, since lmplz refuses <unk> in a text."""
_RESERVED = re.compile(rb"\x00|\x1a|<s>|</s>|<unk>")
"""Parts of words that have a special meaning to lmplz or here. No vocabulary may have a word with one of them."""


def tools() -> dict[str, str]:
    """Return the paths of `lmplz` and `build_binary`. They are compiled first if missing (a minute on two cores).

    Raises UserError with the command that installs what the compilation needs.
    """
    folder = Path(sys.prefix) / "bin"
    path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

    def missing() -> bool:
        return not all(shutil.which(name, path=path) for name in _TOOLS)

    if missing():
        print(f"KenLM's {' and '.join(_TOOLS)}: compiling them into {folder} (once)", file=sys.stderr)
        try:
            with locked(folder / ".kenlm"):  # one of several processes compiles, and the others wait
                if missing():
                    _compile(folder)
        except (_Failure, OSError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"KenLM's lmplz cannot be compiled ({reason}); run `{INSTALL}`, or put {' and '.join(_TOOLS)} on PATH"
            ) from None
    return {name: shutil.which(name, path=path) or name for name in _TOOLS}


def vocabulary(lines: Iterable[bytes]) -> set[bytes]:
    """Return the words that are seen at least twice and have no special meaning to lmplz or here."""
    once: set[bytes] = set()
    twice: set[bytes] = set()
    for line in lines:
        for word in line.split():
            (twice if word in once else once).add(word)
    return {word for word in twice if not _RESERVED.search(word)}


def estimate(lines: Iterable[bytes], words: Set[bytes], path: Path, name: str) -> None:
    """Write the model of `lines` to `path`, in KenLM's binary trie format. A file of that name is always complete.

    The model's vocabulary is `words`, whether they occur or not. Every other word counts as <unk>. ASCII white space
    separates words. Temporary files are beside `path`. Only one process at a time may write the same `path`. name: of
    the text, for messages. Raises UserError for a text without lines, a full disk or missing tools.
    """
    programs = tools()
    scratch = path.with_name(f".{path.name}.making")
    shutil.rmtree(scratch, ignore_errors=True)  # left by a process that was killed
    scratch.mkdir()
    try:
        text, raw, arpa, binary = (scratch / kind for kind in ("text", "raw", "arpa", "binary"))
        with text.open("wb") as out:
            out.writelines(b" ".join([w if w in words else _STAND_IN for w in line.split()]) + b"\n" for line in lines)
        if not text.stat().st_size:
            raise UserError(f"{name} has no lines to learn a language model from; give some")
        # The uniform distribution below the unigrams covers the vocabulary, </s>, <unk> and _STAND_IN.
        counting = [programs["lmplz"], "--order", str(ORDER), "--memory", MEMORY, "--temp_prefix", f"{scratch}/"]
        counting += ["--discount_fallback", "--vocab_pad", str(len(words) + 3), "--text", str(text), "--arpa", str(raw)]
        packing = [programs["build_binary"], "-S", MEMORY, "-T", f"{scratch}/", "trie", str(arpa), str(binary)]
        try:
            _run(counting)
            text.unlink()
            _fix_vocabulary(raw, words, arpa)
            raw.unlink()
            _run(packing)
        except _Failure as error:
            raise UserError(f"{path}: {error}; mend that and run again") from None
        os.replace(binary, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fix_vocabulary(raw: Path, words: Set[bytes], arpa: Path) -> None:
    """Copy lmplz's model, with _STAND_IN as <unk> and a unigram for each word of the vocabulary that did not occur.

    By lmplz's padding, each word that did not occur has the probability of lmplz's own <unk>, so unigrams sum to one.
    The probability of that <unk> is added only to the unigram of ours. After a context that _STAND_IN followed in the
    text, this share of the uniform distribution (less than 1/len(words)) is lost.
    """
    with raw.open("rb") as lines, arpa.open("wb") as out:
        head = [line for line in iter(lines.readline, b"\\1-grams:\n") if not line.startswith(b"ngram 1=")]
        unigrams = {}  # word -> its log10 probability and log10 back-off weight
        for line in iter(lines.readline, b"\n"):
            probability, word, backoff = line.rstrip(b"\n").split(b"\t")
            unigrams[word] = (probability, backoff)
        unseen = unigrams.pop(b"<unk>")
        for word in [_STAND_IN, *sorted(words)]:
            unigrams.setdefault(word, unseen)
        probability, backoff = unigrams.pop(_STAND_IN)
        mass = 10 ** float(probability) + 10 ** float(unseen[0])
        unigrams[b"<unk>"] = (b"%.8g" % math.log10(mass), backoff)
        out.writelines([head[0], b"ngram 1=%d\n" % len(unigrams), *head[1:], b"\\1-grams:\n"])
        out.writelines(b"%s\t%s\t%s\n" % (p, word, backoff) for word, (p, backoff) in unigrams.items())
        out.write(b"\n")
        while block := lines.read(BLOCK):
            out.write(block.replace(_STAND_IN, b"<unk>"))


class _Failure(Exception):
    """A program failed. The message is what it printed."""


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        # cmake and compilers print pages. This finds the line that says what is missing.
        found = re.search(r"(Could NOT|ERROR:|fatal error:|No space left|No module named|what\(\)).*", said)
        reason = found.group() if found else said.rpartition("\n")[2]
        raise _Failure(f"{Path(command[0]).name} ended with status {done.returncode}: {reason}")


def _compile(folder: Path) -> None:
    """Compile lmplz and build_binary into `folder`. Raises _Failure or OSError."""
    _run(["cmake", "--version"])  # before the download, which is useless without it
    with TemporaryDirectory() as name:
        scratch = Path(name)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--retries", "1", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--no-binary", "kenlm", "--dest", name, SOURCE])
        archive = scratch / f"{SOURCE.replace('==', '-')}.tar.gz"
        if checksum(archive) != SOURCE_SHA256:
            raise _Failure(f"{archive.name} from pip is not the archive of SHA-256 {SOURCE_SHA256[:12]}...")
        shutil.unpack_archive(archive, scratch)
        made = scratch / "build"
        options = ["-DCMAKE_BUILD_TYPE=Release", "-DENABLE_INTERPOLATE=OFF"]
        _run(["cmake", "-S", str(scratch / archive.name.removesuffix(".tar.gz")), "-B", str(made), *options])
        _run(["cmake", "--build", str(made), "--parallel", str(os.cpu_count() or 1), "--target", *_TOOLS])
        for tool in _TOOLS:
            # Copied under another name first, because the temporary folder may be on another disk.
            shutil.copy2(made / "bin" / tool, folder / f".{tool}.part")
            os.replace(folder / f".{tool}.part", folder / tool)
