#!/usr/bin/env bash
# N-best lists of WSJ HUB-1: text in spoken form, a recurrent model and Kneser-Ney trigrams of it, and the lists rescored.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}
out=${1:-nbest_hub1}
here=$(dirname "$0")
lists=$data/asr_nbest_hub1/hub1_nbest.jsonl
python "$here/prepare.py" "$data" "$out"
python -c 'import sys; from ostinato.score.kneser_ney import learn_arpa; learn_arpa([sys.argv[1]], sys.argv[2], order=3)' \
    "$out/train.txt" "$out/trigrams.arpa"
ostinato rescore "$out/trigrams.arpa" "$lists"
ostinato train "$out/train.txt" --valid "$out/valid.txt" --config "$here/config.toml" -o "$out/model"
ostinato rescore "$out/model" "$lists" --also "$out/trigrams.arpa"
ostinato rescore "$out/model" "$lists" --also "$out/trigrams.arpa" --interpolate "$out/valid.txt"
