#!/usr/bin/env bash
#SBATCH --job-name=grid_llama_70b
#SBATCH --array=1-8
#SBATCH --gres=gpu:2
#SBATCH --cpus-per-task=4
#SBATCH --mem=96G
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=logs/%x_%A_%a.log
# Grid: Llama 2 70B in 4 bits, in context, on each rotation and context curriculum. CACHE_DIR holds Llama-2-70b-hf.
SWEEP_NAME=grid_llama_70b
common=$(command dirname "$(command readlink -f "$0")")/common.sh
[ -f "$common" ] || common=scripts/common.sh # SLURM runs a copy of this file, in the folder it was submitted from
[ -f "$common" ] || { echo "$SWEEP_NAME: submit it from the repository's root" >&2 && exit 2; }
. "$common"

sweep pt_rot_cond unrotated rotated
sweep_curricula grid
run --task grid --experiment llm --llama2_size 70b --cache_dir "$CACHE_DIR" --use_quant --use_cuda --lm_task causal \
    --real_words --p_flip_xy 0.0 --generate_all --preface_id 7 --sep_id 1 --test_preface_id 4 --n_epochs 0 --n_blocks 0
