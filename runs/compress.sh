#!/usr/bin/env bash
# A thousand held-out examples of each of the four kinds, or all there are, as files and back: bytes beside the exact likelihood.
#
#   runs/compress.sh OUT                 OUT: demos, and a folder of parts and records for each
#
# MINUTES (2) of training a demo, NUM (1000) examples, FLAGS of runs/compress.py. Needs pip install 'unmask[compress]'.
# Cost: training, and a network call for every position of every part, twice. What is finished is not done again: say it again.
set -euo pipefail
out=$1
python=${PYTHON:-python}
here=$(dirname "$0")
for demo in shakespeare digits table protein; do
  part=100
  case $demo in digits | table) part=1000 ;; esac  # short examples: a block of few is mostly its end
  if [ ! -f "$out/$demo/trained" ]; then
    "$python" -m unmask demo --data "$demo" --dtype float32 --minutes "${MINUTES:-2}" --out "$out/$demo"
    touch "$out/$demo/trained"
  fi
  # shellcheck disable=SC2086
  "$python" "$here/compress.py" "$out/$demo/run" --data "$out/$demo/data" --out "$out/$demo-parts" --num "${NUM:-1000}" --part $part ${FLAGS:-}
done
"$python" "$here/results.py" --show compress "$out"
