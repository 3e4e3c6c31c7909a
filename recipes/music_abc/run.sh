#!/usr/bin/env bash
# Tunes in ABC: trained on Nottingham, written for a given key, metre and rhythm, and judged beside real ones.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/nottingham_abc
out=${1:-music_abc}
minutes=${2:-8}
here=$(dirname "$0")
python "$here/prepare.py" "$data" "$out/parts"
ostinato train "$out/parts/train.abc" --valid "$out/parts/valid.abc" --test "$out/parts/test.abc" \
    --level char --minutes "$minutes" --threads 1 -o "$out/model"
python "$here/measure.py" "$out/model" "$out/parts" "$out/tunes" | tee "$out/measured.json"
ostinato sample "$out/model" --abc "$out/jig.abc" --sound --seed 1 --prompt $'X:1\nR:jig\nM:6/8\nL:1/8\nK:G\n' || true
