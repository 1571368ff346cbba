#!/usr/bin/env bash
# A masked language model of antibodies, by others: imported, scored, audited, asked to fill in a loop, trained on the bound.
#
#   runs/antibodies.sh FASTA OUT         FASTA: antibodies, one chain a record, the header "name|VH ..." or "name|VL ..."
#
# The network is AntiBERTy (MIT; Ruffolo, Gray, Sulam, arXiv 2112.07782): 26 million parameters, in the wheel antiberty 0.1.3 of the Python
# package index, which pip downloads to OUT and which is not installed: only its tensors are read. Needs pip install 'unmask[huggingface]'.
# MINUTES (5) of training for each of the two chains, LIMIT (200) sequences to score, REPEATS (4) draws of each.
# Cost: 2 x MINUTES, and half an hour of two CPU cores for all else. What is there already is not done again: say it again to go on.
set -euo pipefail
fasta=$1 out=$2
python=${PYTHON:-python} limit=${LIMIT:-200} repeats=${REPEATS:-4}
unmask() { "$python" -m unmask "$@"; }
read_fasta() { case $fasta in *.gz) gzip -dc "$fasta" ;; *) cat "$fasta" ;; esac; }

. "$(dirname "$0")/asked.sh"
asked "$out/asked" "FASTA=$fasta LIMIT=$limit REPEATS=$repeats" "$out/heavy/meta.json"
if [ ! -d "$out/antiberty" ]; then
  if [ ! -d "$out/wheel/antiberty" ]; then
    "$python" -m pip download -q --no-deps --dest "$out/wheel" antiberty==0.1.3
    "$python" -m zipfile -e "$out"/wheel/antiberty-0.1.3-*.whl "$out/wheel"
  fi
  models=$out/wheel/antiberty/trained_models
  unmask import huggingface "$models/AntiBERTy_md_smooth" "$out/antiberty" --tokenizer "$models/vocab.txt"
fi

for chain in heavy light; do
  case $chain in heavy) mark='|VH' ;; light) mark='|VL' ;; esac
  if [ ! -d "$out/$chain" ]; then
    read_fasta | awk -v mark="$mark" '/^>/ { wanted = index($1, mark) > 0 } wanted' > "$out/$chain.fasta"
    unmask prepare proteins "$out/$chain.fasta" "$out/$chain" --split 0.7,0.1,0.2
  fi
  unmask train tune-protein --from "$out/antiberty" --data "$out/$chain" --out "$out/$chain-tuned" \
    --length 160 --batch-size 8 --minutes "${MINUTES:-5}" --eval-minutes 0 --eval-windows 64 ${FLAGS:-}
  for model in antiberty "$chain-tuned"; do
    record=$out/$model-$chain.json
    [ -f "$record" ] ||
      unmask eval "$out/$model" --data "$out/$chain" --length 160 --limit "$limit" --repeats "$repeats" --json "$record"
  done
  unmask compare "$out/$chain-tuned-$chain.json" "$out/antiberty-$chain.json"
done
[ -f "$out/audit.json" ] ||
  unmask audit "$out/antiberty" --data "$out/heavy" --length 160 --limit 8 --enumerate 4 --json "$out/audit.json"

# the loop that binds, of the heavy chain of trastuzumab: 13 residues between C and WG
printf '>trastuzumab\n%s\n' \
  'EVQLVESGGGLVQPGGSLRLSCAASGFNIKDTYIHWVRQAPGKGLEWVARIYPTNGYTRYADSVKGRFTISADTSKNTAYLQMNSLRAEDTAVYYC[MASK:13]WGQGTLVTVSS' \
  > "$out/loop.fasta"
for model in antiberty heavy-tuned; do
  [ -f "$out/loop-$model.fasta" ] || unmask fill "$out/$model" "$out/loop.fasta" --num 4 --out "$out/loop-$model.fasta"
  grep '>' "$out/loop-$model.fasta"
done
"$python" "$(dirname "$0")/antibodies.py" "$out"
