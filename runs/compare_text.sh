#!/usr/bin/env bash
# MD4, MDM-Prime and GenMD4 on one text: the same time (or as many network calls), the same held-out windows; paired differences with
# errors. The first method is what the others are compared with.
#
#   runs/compare_text.sh DATA OUT        DATA: a folder that unmask prepare made; OUT: runs, results.json, table.md
#
# BUDGET_MINUTES (5) a run, or CALLS: draws times steps; SEEDS ("0 1 2"), WINDOWS (1024) to score, FLAGS (of unmask train), and
# METHODS ("md4 prime2 prime3 prime2-token prime2-joint"; "md4 md4x2 genmd4": GenMD4 needs two draws a step and a network that looks at
# the time, so md4x2, MD4 with both, is its control).
# Cost: methods x seeds x BUDGET_MINUTES. A run that is finished is not done again, one that was stopped continues: say it again.
set -euo pipefail
data=$1 out=$2
python=${PYTHON:-python}
# no focus: of the same loss for all, the bound or what is named
common="--dim 144 --checkpoint-minutes 2 --eval-minutes 0 --focus 0 ${FLAGS:-}"
methods=${METHODS:-md4 prime2 prime3 prime2-token prime2-joint}
seeds=${SEEDS:-0 1 2}

for seed in $seeds; do
  for method in $methods; do
    case $method in
      md4) flags="" ;;
      md4x2) flags="--draws 2 --time" ;;
      genmd4) flags="--schedule learned --time" ;;
      prime[2-9]) flags="--digits ${method#prime}" ;;
      prime[2-9]-token) flags="--digits ${method:5:1} --masking token" ;;
      prime[2-9]-joint) flags="--digits ${method:5:1} --objective joint" ;;
      *) echo "there is no method $method: md4, md4x2, genmd4, primeL, primeL-token, primeL-joint" >&2; exit 2 ;;
    esac
    draws=1
    case $method in md4x2 | genmd4) draws=2 ;; esac
    if [ -n "${CALLS:-}" ]; then flags="$flags --minutes 0 --steps $((CALLS / draws))"; else flags="$flags --minutes ${BUDGET_MINUTES:-5}"; fi
    # shellcheck disable=SC2086
    "$python" -m unmask train demo --data "$data" --out "$out/$method-$seed" --seed "$seed" $common $flags
  done
done
"$python" "$(dirname "$0")/compare_text.py" "$data" "$out" --windows "${WINDOWS:-1024}" --methods $methods --seeds $seeds
