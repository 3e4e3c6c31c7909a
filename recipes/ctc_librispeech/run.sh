#!/usr/bin/env bash
# CTC decoding of one utterance, without a language model and with several. The folder for models and figures comes first.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}
out=${1:-ctc_librispeech}
here=$(dirname "$0")
python "$here/prepare.py" "$data" "$out"
text=("$out/train.txt" --valid "$out/valid.txt" --threads 1)
ostinato train "${text[@]}" --level char --minutes 6 -o "$out/char"
ostinato train "${text[@]}" --level word --pretokenized --min-count 3 --minutes 8 -o "$out/word"
python "$here/measure.py" "$data" "$out"
