#!/usr/bin/env bash
# Submit sweeps to SLURM, with the array that the sweep needs and after what it depends on; print the job ids.
#
#   scripts/submit.sh [--dry_run] NAME [FLAGS]    one sweep; FLAGS go to main.py
#   scripts/submit.sh [--dry_run] --all [FLAGS]   all of them, each trade-off after the jobs that make its base
#
# Variables as for the scripts (scripts/common.sh): PRESET, SEEDS, SEEDS_PER_JOB, BASE. --dry_run prints the commands.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "submit.sh: $*" >&2; }

# Only for sbatch: site.sh may export SBATCH_PARTITION and the like.
if [ -f scripts/site.sh ]; then source scripts/site.sh; fi
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

dry_run=
if [ "${1:-}" = --dry_run ]; then
    dry_run=1
    shift
fi
known=$(cd scripts && echo grid_*.sh cat_*.sh | sed 's/\.sh//g')
what=${1:-}
if [ -z "$what" ]; then
    say "name a sweep ($known), or --all"
    exit 2
fi
shift
passed=("$@")

# check: reads elements as `--list` prints them; the first wrong flag, or base that is missing, is one line on stderr
check() {
    sed 's/^[^:]*: //' | "$PYTHON" -c '
import sys
from flags.command_line import parse
from flags.config import BadInput
try:
    for line in sys.stdin:
        parse(line.split())
except BadInput as error:
    sys.exit(f"submit.sh: error: {error}")' || exit 2
}

# submit NAME [DEPENDENCY]: prints the job's id
submit() {
    local list n command
    list=$(bash "scripts/$1.sh" --list "${passed[@]}")
    n=$(wc -l <<< "$list")
    if [ -z "${2:-}" ]; then check <<< "$list"; fi # else its base is made first
    # a job whose dependency failed is removed, it would wait for ever
    command=(sbatch --parsable --array="1-$n" ${2:+--dependency="$2" --kill-on-invalid-dep=yes} "scripts/$1.sh" "${passed[@]}")
    if [ -n "$dry_run" ]; then
        echo "${command[*]}" >&2
        echo "ID_OF_$1"
    else
        "${command[@]}" | cut -d ';' -f 1
    fi
}

# base_of NAME ID: what a trade-off waits for: the elements of job ID that make its base
base_of() {
    bash "scripts/$1.sh" --list "${passed[@]}" |
        sed -n "/--pt_rot_cond unrotated --pt_cond interleaved /s/^[a-z_]* \([0-9]*\):.*/:$2_\1/p" | tr -d '\n' | sed 's/^/afterok/'
}

if [ "$what" = --all ]; then
    declare -A ids
    sweeps=(cat_iwl_icl cat_iwl_only grid_iwl_icl grid_iwl_only)
    weights=${CACHE_DIR:-$HOME/.cache/llama2}/Llama-2-70b-hf
    if [ -d "$weights" ]; then sweeps+=(grid_llama_70b); else say "grid_llama_70b left out: there is no $weights (CACHE_DIR)"; fi
    for name in "${sweeps[@]}"; do
        ids[$name]=$(submit "$name")
        echo "$name ${ids[$name]}"
    done
    for task in cat grid; do
        after=
        if [ -z "${BASE:-}" ]; then after=$(base_of "${task}_iwl_icl" "${ids[${task}_iwl_icl]}"); fi
        for ablation in mask noise; do
            name=${task}_tradeoff_$ablation
            id=$(submit "$name" "$after")
            echo "$name $id"
        done
    done
elif [[ " $known " == *" $what "* ]]; then
    id=$(submit "$what")
    echo "$what $id"
else
    say "$what: there is no such sweep; there are $known"
    exit 2
fi
