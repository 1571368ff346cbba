#!/usr/bin/env bash
# A thousand held-out examples of each of the four kinds as files and back: bytes beside the exact likelihood.
#
#   runs/compress.sh OUT                 OUT: data, run and parts of each kind; KIND-parts/all.json is the record
#
# Sources are the bundled ones; of pictures, PICTURES=FOLDER takes MNIST's official files, binarized, since of the bundled digits 252 are
# held out. STEPS of training, NUM (1000) examples, KINDS ("text digits table proteins"), FLAGS of runs/compress.py.
# Needs pip install 'unmask[compress]'. Cost: training, and a network call for every step of every part, twice: an hour and a half on one
# core. What is finished is not done again: say it again; with another STEPS or PICTURES it is refused.
set -euo pipefail
out=$1
python=${PYTHON:-python}
here=$(dirname "$0")
. "$here/asked.sh"

bundled() {
  "$python" -c "from unmask.kinds.registry import demos; print(demos()['$1'].source)"
}

# split: 1,000 examples or more are held out
for kind in ${KINDS:-text digits table proteins}; do
  part=100 reveals=0
  case $kind in
    text) source=(text "$(bundled shakespeare)") flags=(--tokenizer characters --split 0.84,0.01,0.15) preset=demo steps=800 ;;
    table) source=(tables "$(bundled table)") flags=(--drop fnlwgt --split 0.8,0.05,0.15) preset=table part=1000 steps=600 ;;
    proteins) source=(proteins "$(bundled protein)") flags=(--split 0.7,0.02,0.28) preset=protein reveals=32 steps=300 ;;
    digits)
      source=(images "$(bundled digits)") flags=(--levels 17 --split 1415,130,252) preset=digits part=252 steps=600
      if [ -n "${PICTURES:-}" ]; then source=(images "$PICTURES") flags=(--levels 2) preset=mnist part=250 reveals=56 steps=400; fi
      ;;
    *) echo "there is no kind $kind: text, digits, table, proteins" >&2; exit 2 ;;
  esac
  said="STEPS=${STEPS:-}"
  [ $kind != digits ] || said="$said PICTURES=${PICTURES:-}"
  asked "$out/$kind-asked" "$said" "$out/$kind-data/meta.json"
  if [ ! -e "$out/$kind-data/meta.json" ]; then
    "$python" -m unmask prepare "${source[@]}" "$out/$kind-data" "${flags[@]}"
  fi
  if [ ! -e "$out/$kind-run/trained" ]; then
    "$python" -m unmask train $preset --data "$out/$kind-data" --out "$out/$kind-run" --dtype float32 --steps "${STEPS:-$steps}"
    touch "$out/$kind-run/trained"
  fi
  # shellcheck disable=SC2086
  "$python" "$here/compress.py" "$out/$kind-run" --data "$out/$kind-data" --out "$out/$kind-parts" --num "${NUM:-1000}" --part $part --steps $reveals ${FLAGS:-}
done
"$python" "$here/results.py" --show compress "$out"
