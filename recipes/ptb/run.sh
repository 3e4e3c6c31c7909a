#!/usr/bin/env bash
# Penn Treebank, words, at most 5M parameters, one hour.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/ptb
out=${1:-ptb}
here=$(dirname "$0")
ostinato train "$data/ptb.train.txt.gz" --valid "$data/ptb.valid.txt" --test "$data/ptb.test.txt" \
    --config "$here/config.toml" -o "$out"
ostinato score "$out" "$data/ptb.test.txt"
