#!/usr/bin/env bash
# Captions of emoji at 32 x 32: with attention, without it, and without images.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/emoji_captions
out=${1:-emoji_captions}
minutes=${2:-20}
here=$(dirname "$0")
python "$here/split.py" "$data/captions.tsv" "$out/split"
train() {
    name=$1
    shift
    ostinato train "$out/split/train.tsv" --valid "$out/split/valid.tsv" --test "$out/split/test.tsv" \
        --images "$data/emoji32.zip" --task caption --average 0.998 --minutes "$minutes" -o "$out/$name" "$@"
}
train additive
train mean --attention none
train blind --blind
python "$here/measure.py" "$out/split" "$data/emoji32.zip" "$out" "$out/additive" "$out/mean" "$out/blind"
