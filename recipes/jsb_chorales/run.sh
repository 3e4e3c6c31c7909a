#!/usr/bin/env bash
# JSB chorales at quarter notes: both outputs over seeds, then voices below a melody, heard as it comes or read as a whole.
set -euo pipefail
data=${OSTINATO_DATA:?set OSTINATO_DATA to a folder of corpora}/jsb_chorales/jsb-chorales-quarter.json
out=${1:-jsb_chorales}
epochs=${2:-100}
mkdir -p "$out"
train() {
    name=$1
    shift
    ostinato train "$data" --task music --epochs "$epochs" --threads 1 -o "$out/$name" --json "$@" > "$out/$name.json"
}
for seed in 0 1 2; do
    train "bernoulli-$seed" --output bernoulli --seed "$seed"
    train "chain-$seed" --output chain --seed "$seed"
done
train past --melody past
train whole --melody whole --hidden 144
ostinato compose "$out/chain-0" -o "$out/chorale.json" --steps 64 --seed 1
python "$(dirname "$0")/report.py" "$out"/*.json
