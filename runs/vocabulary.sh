#!/usr/bin/env bash
# The table of runs/vocabulary.py: masked diffusion and its rivals on GPT-2's 50,257 tokens, ours beside the papers' of OpenWebText.
#
#   runs/vocabulary.sh SOURCE OUT  SOURCE: a text (JSON lines ...; also compressed), or ready ids of GPT-2: .npy, or .bin of uint16
#
# GPT2: the folder of GPT-2's encoder.json and vocab.bpe. BUDGET_MINUTES (30) for all of it, FLAGS of runs/vocabulary.py, such as
# "--seeds 0,1 --only md4,ar". Cost: those minutes, and some 2 GB of models. What is finished is not done again: say it again to go on.
set -euo pipefail
source=$1 out=$2
python=${PYTHON:-python}
. "$(dirname "$0")/asked.sh"
asked "$out/asked" "SOURCE=$source GPT2=${GPT2:?name the folder of encoder.json and vocab.bpe}" "$out/data/meta.json"
if [ ! -e "$out/data/meta.json" ]; then
  case $source in *.bin) ids="--format ids" ;; *) ids="" ;; esac
  # shellcheck disable=SC2086
  "$python" -m unmask prepare text "$source" "$out/data" --tokenizer "$GPT2" $ids
fi
# shellcheck disable=SC2086
"$python" "$(dirname "$0")/vocabulary.py" "$out/data" "$out" --minutes "${BUDGET_MINUTES:-30}" ${FLAGS:-}
