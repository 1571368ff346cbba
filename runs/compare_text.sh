#!/usr/bin/env bash
# MD4 and MDM-Prime on one text: the same network, the same time, the same held-out windows; paired differences with errors.
#
#   runs/compare_text.sh DATA OUT        DATA: a folder that unmask prepare made; OUT: runs, results.json, table.md
#
# BUDGET_MINUTES (5) a run, SEEDS ("0 1 2"), METHODS ("md4 prime2 prime3 prime2-token prime2-joint"), FLAGS (of unmask train).
# Cost: methods x seeds x BUDGET_MINUTES. A run that is finished is not done again, one that was stopped continues: say it again.
set -euo pipefail
data=$1 out=$2
python=${PYTHON:-python}
common="--minutes ${BUDGET_MINUTES:-5} --dim 144 --checkpoint-minutes 2 --eval-minutes 0 ${FLAGS:-}"
methods=${METHODS:-md4 prime2 prime3 prime2-token prime2-joint}
seeds=${SEEDS:-0 1 2}

for seed in $seeds; do
  for method in $methods; do
    case $method in
      md4) flags="" ;;
      prime[2-9]) flags="--digits ${method#prime}" ;;
      prime[2-9]-token) flags="--digits ${method:5:1} --masking token" ;;
      prime[2-9]-joint) flags="--digits ${method:5:1} --objective joint" ;;
      *) echo "there is no method $method: md4, primeL, primeL-token, primeL-joint" >&2; exit 2 ;;
    esac
    # shellcheck disable=SC2086
    "$python" -m unmask train demo --data "$data" --out "$out/$method-$seed" --seed "$seed" $common $flags
  done
done
"$python" "$(dirname "$0")/compare_text.py" "$data" "$out" --methods $methods --seeds $seeds
