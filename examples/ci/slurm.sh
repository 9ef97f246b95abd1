#!/bin/bash
#SBATCH --job-name=parity
#SBATCH --array=1-8
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#
# wan-parity on eight GPUs of a Slurm cluster: sbatch slurm.sh, in a folder that all machines see, with `cases` in it and an
# environment with wan-parity in .venv. docs/long-runs.md explains it. Afterwards: parity report results/shard-*/
set -euo pipefail
PATH=$PWD/.venv/bin:$PATH
out=results/shard-$SLURM_ARRAY_TASK_ID
resume=()
if [ -f "$out/results.json" ]; then resume=(--resume); fi # a task that was preempted, or submitted again
parity run cases --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --device cuda --out "$out" "${resume[@]}"
