# Copy to scripts/site.sh, which git ignores, and keep what your cluster needs. Every script reads it, on the login node and
# in the job, without `set -eu`; a command that fails is reported, and the script goes on. Options of sbatch itself can stand in the
# environment as well: SBATCH_PARTITION, SBATCH_ACCOUNT, SBATCH_QOS, …
module load cuda
export SBATCH_PARTITION=gpu
export HF_HOME=/scratch/$USER/huggingface
PYTHON=$HOME/envs/icl-iwl/bin/python
