#!/usr/bin/env bash
#SBATCH --job-name=grid_iwl_icl
#SBATCH --array=1-8
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/%x_%A_%a.log
# Grid: metalearning on each rotation and context curriculum, then finetuning (ICL + IWL).
SWEEP_NAME=grid_iwl_icl
common=$(command dirname "$(command readlink -f "$0")")/common.sh
[ -f "$common" ] || common=scripts/common.sh # SLURM runs a copy of this file, in the folder it was submitted from
[ -f "$common" ] || { echo "$SWEEP_NAME: submit it from the repository's root" >&2 && exit 2; }
. "$common"

sweep pt_rot_cond unrotated rotated
sweep_curricula grid
sweep_seeds
run --task grid --experiment icl_iwl --use_cuda
