#!/usr/bin/env bash
# The table of runs/images.py: masked diffusion and its rivals on pictures, ours beside the published figures.
#
#   runs/images.sh FOLDER OUT            FOLDER: Larochelle's binarized MNIST, binarized_mnist_{train,valid,test}.packbits.u8
#   SET=cifar10 runs/images.sh FOLDER OUT    FOLDER: CIFAR-10, binary version, or any other pictures that unmask prepare images reads
#
# BUDGET_MINUTES (15) for all of it, FLAGS of runs/images.py, such as "--seeds 0,1 --only md4,ar". What is finished is not done again:
# say it again to go on.
set -euo pipefail
source=$1 out=$2
python=${PYTHON:-python}
. "$(dirname "$0")/asked.sh"
asked "$out/asked" "FOLDER=$source SET=${SET:-mnist}" "$out/data/meta.json"
if [ ! -e "$out/data/meta.json" ]; then
  if [ "${SET:-mnist}" = mnist ]; then
    bits=$source/binarized_mnist_
    "$python" -m unmask prepare images "${bits}train.packbits.u8" "$out/data" --format packbits --shape 28,28,1 \
      --validation "${bits}valid.packbits.u8" --test "${bits}test.packbits.u8"
  else
    "$python" -m unmask prepare images "$source" "$out/data"
  fi
fi
# shellcheck disable=SC2086
"$python" "$(dirname "$0")/images.py" "$out/data" "$out" --minutes "${BUDGET_MINUTES:-15}" ${FLAGS:-}
