#!/usr/bin/env bash
# The best numbers of reveals for 16, 32 and 64 steps beside other grids, of texts and, if its files are there, of binarized MNIST:
# OUT/text and OUT/mnist have a record of `unmask grid` for each number of steps, and their tables are printed.
#
#   runs/grids.sh OUT [MNIST]        MNIST: a folder with binarized_mnist_train.packbits.u8, _valid and _test; without it, text alone
#
# OUT/shakespeare is the model of texts, that of runs/orders.sh with the same OUT. STEPS and FLAGS as in demo_model.sh (MNIST: 800 steps),
# LIMIT windows of a split. What is finished is not done again, what was stopped goes on: say it again.
set -euo pipefail
out=${1:?runs/grids.sh OUT [MNIST]} mnist=${2:-}
python=${PYTHON:-python}
here=$(dirname "$0")

grids() {  # MODEL DATA FOLDER FLAGS...
  local model=$1 data=$2 folder=$3 steps
  shift 3
  mkdir -p "$folder"
  for steps in 16 32 64; do
    if [ ! -e "$folder/$steps.json" ]; then
      "$python" -m unmask grid "$model" --data "$data" --steps $steps --out "$folder.$steps.grid.json" --json "$folder/$steps.json" \
        --dtype float32 "$@"
    fi
  done
  "$python" "$here/results.py" --show grids "$folder"
}

"$here/demo_model.sh" shakespeare "$out/shakespeare"
grids "$out/shakespeare/run" "$out/shakespeare/data" "$out/text" --limit "${LIMIT:-120}"
if [ -n "$mnist" ]; then
  data=$out/binarized-mnist/data run=$out/binarized-mnist/run
  if [ ! -e "$data/meta.json" ]; then
    files=$mnist/binarized_mnist
    "$python" -m unmask prepare images "${files}_train.packbits.u8" "$data" --format packbits --shape 28,28,1 \
      --validation "${files}_valid.packbits.u8" --test "${files}_test.packbits.u8"
  fi
  # shellcheck disable=SC2086
  "$python" -m unmask train mnist --data "$data" --out "$run" --minutes 0 --steps "${STEPS:-800}" --dtype float32 ${FLAGS:-}
  grids "$run" "$data" "$out/mnist" --limit "${LIMIT:-100}" --repeats 8
fi
