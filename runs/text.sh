#!/usr/bin/env bash
# The table of runs/text.py: masked diffusion and its rivals on 27 letters or on bytes, ours beside the paper's.
#
#   runs/text.sh SOURCE OUT                  SOURCE: text8, or a text that has its 27 letters; also compressed
#   TOKENIZER=bytes runs/text.sh SOURCE OUT  the bytes of any text, enwik8's say; of them the paper has no figure
#
# BUDGET_MINUTES (10) for all of it, FLAGS of runs/text.py, such as "--seeds 0,1 --only md4,ar". What is finished is not done again: say
# it again to go on. Of text8 and of enwik8 themselves, SPLIT=90000000,5000000,5000000 is the published split.
set -euo pipefail
source=$1 out=$2
python=${PYTHON:-python} tokenizer=${TOKENIZER:-characters}
. "$(dirname "$0")/asked.sh"
asked "$out/asked" "SOURCE=$source TOKENIZER=$tokenizer SPLIT=${SPLIT:-}" "$out/data/meta.json"
if [ ! -e "$out/data/meta.json" ]; then
  case $tokenizer in characters) alphabet="--alphabet text8" ;; *) alphabet="" ;; esac
  # shellcheck disable=SC2086
  "$python" -m unmask prepare text "$source" "$out/data" --tokenizer "$tokenizer" $alphabet ${SPLIT:+--split "$SPLIT"}
fi
# shellcheck disable=SC2086
"$python" "$(dirname "$0")/text.py" "$out/data" "$out" --minutes "${BUDGET_MINUTES:-10}" ${FLAGS:-}
