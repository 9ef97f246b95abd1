#!/bin/sh
# Trains the shapes' checkpoints, their LoRA and the classifier from scratch, and measures them on held-out captions:
#
#     cases/training/retrain.sh WORK
#
# Run it in the repository's root, in the project's environment. Started again, it resumes where it stopped.
set -eu
work=${1:?"usage: cases/training/retrain.sh WORK"}
t2v=$work/shapes-t2v
i2v=$work/shapes-i2v
lora=$work/shapes_t2v

stage() {
    printf '== %s %s\n' "$(date +%T)" "$*"
    python -m "cases.training.$@"
}
measure() {
    stage quality "$@" --work "$work"
}

mkdir -p "$work"
stage encoders --model "$t2v" --image-model "$i2v"
stage vae --work "$work" --model "$t2v"
stage latents --work "$work" --model "$t2v" --image-model "$i2v"
stage vae --work "$work" --model "$t2v" --decoder
cp -r "$t2v/vae" "$i2v"
stage transformer t2v --work "$work" --model "$t2v"
stage transformer i2v --work "$work" --model "$i2v" --start "$t2v"
stage lora --work "$work" --model "$t2v" --out "$lora"
stage judge --work "$work"

measure vae --model "$t2v"
measure t2v --model "$t2v"
measure t2v --model "$t2v" --guidance 5
measure t2v --model "$t2v" --clips 32 --size 96 64 17
measure t2v --model "$t2v" --clips 32 --size 160 96 9
measure i2v --model "$i2v" --clips 48
measure lora --model "$t2v" --lora "$lora/p0stcard_shapes.safetensors" --clips 24
