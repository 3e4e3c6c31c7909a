#!/usr/bin/env bash
# Multi30k, German to English or back: train, then translate the test set of 2016. The model folder comes first, then
# the direction, de-en or en-de, then more flags of `ostinato train`.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/multi30k/task1
out=${1:-multi30k}
direction=${2:-de-en}
from=${direction%-*} to=${direction#*-}
here=$(dirname "$0")
ostinato train "$data/train.$from.gz" "$data/train.$to.gz" --task translate \
    --valid "$data/val.$from.gz,$data/val.$to.gz" \
    --test "$data/test_2016_flickr.$from.gz,$data/test_2016_flickr.$to.gz" \
    --config "$here/config.toml" -o "$out" "${@:3}"
python "$here/measure.py" "$out" "$data/test_2016_flickr.$from.gz" "$data/test_2016_flickr.$to.gz"
