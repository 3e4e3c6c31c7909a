#!/usr/bin/env bash
# tiny-shakespeare on nanoGPT's split: the first 90% of the characters to train on, the last 10% held out.
set -euo pipefail
text=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/tinyshakespeare/input.txt
out=${1:-tinyshakespeare}
ostinato train "$text" -o "$out/minutes-3" --minutes 3 --evaluations 60 --level char
ostinato train "$text" -o "$out/minutes-20" --minutes 20 --level char
for level in char byte bpe word; do
    ostinato train "$text" -o "$out/$level" --minutes 3 --threads 1 --level "$level"
done
