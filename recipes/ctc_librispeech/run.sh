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
python -c 'import sys; from ostinato.score.kneser_ney import learn_arpa; learn_arpa([sys.argv[1]], sys.argv[2], min_count=3)' \
    "$out/train.txt" "$out/words.arpa"
python "$here/measure.py" "$data" "$out"
