#!/usr/bin/env bash
# Rebuild both papers' tables beside the numbers they printed.
#
#   ./reproduce.sh                    the demo: every headline system in miniature, within 10 minutes on 2 CPU cores
#   ./reproduce.sh multi30k           most of the same systems on real text (3 hours on 2 cores)
#   ./reproduce.sh europarl           the same systems at their own size on Europarl v7: a GPU; --small: 12 hours on 2 cores
#   ./reproduce.sh europarl-same      both papers on Europarl v7 at equal cost: a GPU; --small: 6 hours on 2 cores
#   ./reproduce.sh wmt14              the papers' own size: prints its plan first
#   ./reproduce.sh test               style, types and the test suite
#   ./reproduce.sh SCALE PAPER        only bahdanau2014 or vaswani2017
#   --small                           europarl and europarl-same: smaller models on the first 200,000 pairs, for 2 cores
#   --fresh                           start over; otherwise an interrupted run goes on, a finished one is kept
#   --runs DIR                        where everything is made (default: runs)
#   --slots SLOTS                     where systems train side by side: a number of CPU cores, or cuda:0,cuda:1;
#                                     cuda:0+1 trains one on two GPUs (default: every GPU, or without one every core)
#   train.steps=100 evaluate.average=1 ...   override recipe fields in every system, to try things out
#
# Makes .venv unless a virtual environment is active, and installs requirements.txt into it once.
set -euo pipefail
cd "$(dirname "$0")"

usage() { sed -n '2,18s/^# \{0,1\}//p' "$0"; }

case "$(uname -s)" in
    MINGW* | MSYS* | CYGWIN*) echo "reproduce.sh: needs Linux or macOS; on Windows use WSL" >&2; exit 2 ;;
esac

scale=demo paper=all extra=()
while [ $# -gt 0 ]; do
    case "$1" in
        demo | multi30k | europarl | europarl-same | wmt14 | test) scale=$1 ;;
        bahdanau2014 | vaswani2017 | all) paper=$1 ;;
        --fresh | --small | *.*=*) extra+=("$1") ;;
        --runs | --slots)
            [ -n "${2:-}" ] || { echo "reproduce.sh: $1 needs a value; see ./reproduce.sh --help" >&2; exit 2; }
            extra+=("$1" "$2"); shift ;;
        -h | --help) usage; exit 0 ;;
        *) echo "reproduce.sh: unknown word '$1'; see ./reproduce.sh --help" >&2; exit 2 ;;
    esac
    shift
done

python=${PYTHON:-python3}
[ -z "${VIRTUAL_ENV:-}" ] || python=$VIRTUAL_ENV/bin/python
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null || {
    echo "reproduce.sh: needs Python 3.10 to 3.14, not $python; leave the virtual environment if one is active," \
        "and name another with PYTHON=/path/to/python3 ./reproduce.sh" >&2
    exit 2
}
if [ -z "${VIRTUAL_ENV:-}" ]; then
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    VIRTUAL_ENV=$PWD/.venv
fi
python=$VIRTUAL_ENV/bin/python

stamp=$VIRTUAL_ENV/.attention-requirements
if ! cmp -s requirements.txt "$stamp"; then
    echo "reproduce.sh: installing requirements.txt (once, a few minutes)" >&2
    # The torch pin first: with it in place nothing that depends on torch brings another one.
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt || {
        echo "reproduce.sh: pip could not install requirements.txt; see the lines above, then run the same command again" >&2
        exit 2
    }
    cp requirements.txt "$stamp"
fi

# A step allocates and frees the same large tensors again; without these glibc returns the memory each time.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296 OMP_WAIT_POLICY=PASSIVE

if [ "$scale" = test ]; then
    "$python" -m ruff check --quiet .
    "$python" -m ruff format --quiet --check .
    "$python" -m mypy common papers
    exec "$python" -m pytest -q -n 2 --dist loadfile
fi
exec "$python" -m papers "$scale" "$paper" ${extra[@]+"${extra[@]}"}
