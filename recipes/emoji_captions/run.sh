#!/usr/bin/env bash
# Captions of emoji at 32 x 32: with attention, without it, and without images, three seeds.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/emoji_captions
out=${1:-emoji_captions}
here=$(dirname "$0")
python "$here/split.py" "$data/captions.tsv" "$out/split"
train() {
    name=$1
    shift
    ostinato train "$out/split/train.tsv" --valid "$out/split/valid.tsv" --test "$out/split/test.tsv" \
        --images "$data/emoji32.zip" --config "$here/config.toml" --seed "$seed" -o "$out/$seed/$name" "$@"
}
for seed in 0 1 2; do
    train additive
    train mean --attention none
    train blind --blind --steps 500
    python "$here/measure.py" "$out/split" "$data/emoji32.zip" "$out/$seed" "$out/$seed"/{additive,mean,blind}
done
