#!/usr/bin/env bash
# Self-dialogue: conversations held out whole, some minutes of training, then n-grams and humans beside the model.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/self_dialogue/self_dialogue.txt.gz
out=${1:-self_dialogue}
minutes=${2:-60}
here=$(dirname "$0")
python "$here/measure.py" split "$data" "$out"
ostinato train "$out/train.txt" --valid "$out/valid.txt" --test "$out/test.txt" \
    --config "$here/config.toml" --minutes "$minutes" -o "$out/model"
python "$here/measure.py" measure "$out/model" "$out" | tee "$out/measured.json"
