#!/usr/bin/env bash
# What the sampler of every order assigns to held-out examples, of a model of each of the four kinds: OUT/KIND.json, and their tables.
#
#   runs/orders.sh OUT [KIND...]        KIND: shakespeare, table, protein, digits; all four without one. OUT/KIND: the model and its data
#
# LIMIT examples, unless the kind's own; STEPS and FLAGS as in demo_model.sh, which makes the models. What is finished is not done again,
# what was stopped goes on: say it again.
set -euo pipefail
out=${1:?runs/orders.sh OUT [KIND...]}
shift
python=${PYTHON:-python}
here=$(dirname "$0")
[ $# -gt 0 ] || set -- shakespeare table protein digits
for kind in "$@"; do
  "$here/demo_model.sh" "$kind" "$out/$kind"
  orders=0
  case $kind in
    shakespeare) limit=64 ;;
    table) limit=1000 orders=8 ;;
    protein) limit=8 ;;
    digits) limit=48 ;;
  esac
  if [ ! -e "$out/$kind.json" ]; then
    "$python" "$here/policies.py" "$out/$kind/run" --data "$out/$kind/data" --limit "${LIMIT:-$limit}" --orders $orders --json "$out/$kind.json"
  fi
done
