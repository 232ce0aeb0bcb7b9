#!/usr/bin/env bash
#SBATCH --job-name=grid_tradeoff_noise
#SBATCH --array=1-9
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/%x_%A_%a.log
# Grid: finetuning while noise is added to attention's values, at each level, from the unrotated-interleaved job's best seed.
SWEEP_NAME=grid_tradeoff_noise
common=$(command dirname "$(command readlink -f "$0")")/common.sh
[ -f "$common" ] || common=scripts/common.sh # SLURM runs a copy of this file, in the folder it was submitted from
[ -f "$common" ] || { echo "$SWEEP_NAME: submit it from the repository's root" >&2 && exit 2; }
. "$common"

sweep_levels grid tradeoff_noise
run_on_base --task grid --experiment tradeoff_noise --use_cuda
