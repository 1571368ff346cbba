#!/usr/bin/env bash
# A model of a demo's bundled data for a number of steps that does not depend on the machine: OUT/data and OUT/run.
#
#   runs/demo_model.sh KIND OUT        KIND: shakespeare, table, protein, digits
#
# STEPS, unless the kind's own; FLAGS of unmask train. Float32, seed 0. A model that is finished is not made again, one that was stopped goes on;
# with other STEPS, FLAGS or LIMIT (of orders.sh and grids.sh) than it was begun with it is refused, so that no record is of something else.
set -euo pipefail
kind=${1:?runs/demo_model.sh KIND OUT} out=${2:?runs/demo_model.sh KIND OUT}
python=${PYTHON:-python}
case $kind in
  shakespeare) preset=demo steps=1150 ;;
  table) preset=table steps=150 ;;
  protein) preset=protein steps=150 ;;
  digits) preset=digits steps=600 ;;
  *) echo "there is no kind $kind: shakespeare, table, protein, digits" >&2; exit 2 ;;
esac
. "$(dirname "$0")/asked.sh"
asked "$out/asked" "STEPS=${STEPS:-} LIMIT=${LIMIT:-} FLAGS=${FLAGS:-}" "$out/data/meta.json"
if [ ! -e "$out/data/meta.json" ]; then
  "$python" -c '
import sys
from pathlib import Path

from unmask.kinds.registry import demos

demos()[sys.argv[1]]().prepare(Path(sys.argv[2]) / "data")' "$kind" "$out"
fi
# shellcheck disable=SC2086
"$python" -m unmask train $preset --data "$out/data" --out "$out/run" --minutes 0 --steps "${STEPS:-$steps}" --dtype float32 ${FLAGS:-}
