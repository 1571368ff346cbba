#!/usr/bin/env bash
# The models of runs/vocabulary.sh on LAMBADA, WikiText-2, PTB, 1BW and AG News, beside the paper's zero-shot table: runs/zero_shot.py.
#
#   SETS=FOLDER runs/zero_shot.sh OUT    OUT: of runs/vocabulary.sh; FOLDER: the official test files, named in runs/zero_shot.py
#
# FLAGS of runs/zero_shot.py: --limit 32 windows of a set (0: all), --repeats 4. Cost: some ten seconds of a core for each of 5 sets, each
# row and each seed. What is finished is not done again: say it again to go on.
set -euo pipefail
python=${PYTHON:-python}
# shellcheck disable=SC2086
"$python" "$(dirname "$0")/zero_shot.py" "$1" "${SETS:?name the folder of the test files}" ${FLAGS:-}
