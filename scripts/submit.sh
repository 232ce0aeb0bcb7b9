#!/usr/bin/env bash
# Submit sweeps to SLURM, with the array that the sweep needs and after what it depends on; print the job ids.
#
#   scripts/submit.sh [--dry_run] NAME [FLAGS]    one sweep; FLAGS go to main.py
#   scripts/submit.sh [--dry_run] --all [FLAGS]   all of them, each trade-off after the jobs that make its base
#
# Variables as for the scripts (scripts/common.sh), in the environment or as arguments before FLAGS: PRESET, SEEDS, SEEDS_PER_JOB,
# BASE, PYTHON, CACHE_DIR. The jobs get them as arguments, whatever sbatch's --export is. --dry_run prints the commands.
SWEEP_NAME=submit.sh
. "$(command dirname "$(command readlink -f "$0")")/settings.sh"

program='
from tasks import TASKS
print("tasks", *(entry.script for entry in TASKS.values()))'
tasks=$(ask_python -c "$program") || exit
tasks=(${tasks##*tasks}) # as their scripts are called
if ((${#tasks[@]} == 0)); then fail "PYTHON=$PYTHON: names no task"; fi
known=()
for task in "${tasks[@]}"; do
    for file in scripts/"$task"_*.sh; do
        file=${file#scripts/}
        known+=("${file%.sh}")
    done
done
dry_run='' what=''
for word in ${words[@]+"${words[@]}"}; do
    case $word in
        --dry_run) dry_run=1 ;;
        *)
            if [ -n "$what" ]; then fail "$word: belongs to no flag; name one sweep, or --all"; fi
            what=$word
            ;;
    esac
done
if [ -z "$what" ]; then fail "name a sweep (${known[*]}), or --all"; fi
if [[ $what != --all && " ${known[*]} " != *" $what "* ]]; then
    fail "$what: unknown sweep; the sweeps are ${known[*]}"
fi
if [ -z "$dry_run" ] && ! type -P sbatch > /dev/null; then fail "sbatch is not installed here; without SLURM: bash scripts/NAME.sh"; fi

# What is decided now holds in the job: not what its own environment says.
decided=("PRESET=${PRESET:-paper}" "PYTHON=$PYTHON")
for name in SEEDS SEEDS_PER_JOB BASE CACHE_DIR; do
    if [ -n "${!name:-}" ]; then decided+=("$name=${!name}"); fi
done

declare -A lists ids

# list NAME: the array `listed` of its elements, as its script prints them; other lines (of BASH_ENV) are left out
list() {
    local printed line
    if [ -z "${lists[$1]:-}" ]; then
        lists[$1]=$(bash "scripts/$1.sh" --list "${decided[@]}" ${passed[@]+"${passed[@]}"}) || exit
    fi
    printed=${lists[$1]}
    listed=()
    while [ -n "$printed" ]; do
        line=${printed%%$'\n'*}
        if [[ $line == "$1 "[0-9]*": "* ]]; then listed+=("$line"); fi
        if [[ $printed != *$'\n'* ]]; then break; fi
        printed=${printed#*$'\n'}
    done
    if ((${#listed[@]} == 0)); then fail "$1: its script lists no elements"; fi
}

# check NAME: the first wrong flag, or base that is missing, is one line on stderr
check() {
    list "$1"
    printf '%s\n' "${listed[@]}" | ask_python -m runs.sweep "$1" > /dev/null || exit
}

# submit NAME [DEPENDENCY]: prints the job's id
submit() {
    local command printed
    list "$1"
    # a job whose dependency failed is removed, it would wait for ever
    command=(sbatch --parsable "--array=1-${#listed[@]}" ${2:+"--dependency=$2" --kill-on-invalid-dep=yes} "scripts/$1.sh"
        "${decided[@]}" ${passed[@]+"${passed[@]}"})
    if [ -n "$dry_run" ]; then
        printf '%s\n' "$(quoted "${command[@]}")" >&2
        echo "ID_OF_$1"
    else
        mkdir -p logs # else the job fails without a word
        printed=$("${command[@]}") || exit
        echo "${printed%%;*}"
    fi
}

# base_of NAME ID: what a trade-off waits for: the elements of job ID that make its base
base_of() {
    local k after=afterok
    list "$1"
    for ((k = 0; k < ${#listed[@]}; k++)); do
        if [[ ${listed[k]} == *" --pt_rot_cond unrotated --pt_cond interleaved --seed "* ]]; then after+=":$2_$((k + 1))"; fi
    done
    echo "$after"
}

# one NAME [DEPENDENCY]: submits it; `id` is the job's
one() {
    id=$(submit "$@") || exit
    echo "$1 $id"
}

if [ "$what" != --all ]; then
    check "$what"
    one "$what"
    exit
fi
sweeps=()
for task in "${tasks[@]}"; do sweeps+=("${task}_iwl_icl" "${task}_iwl_only"); done
weights=${CACHE_DIR:-${HOME:-~}/.cache/llama2}/Llama-2-70b-hf
if [ -d "$weights" ]; then
    sweeps+=(grid_llama_70b)
else
    echo "submit.sh: grid_llama_70b left out: $weights does not exist (CACHE_DIR)" >&2
fi
for name in "${sweeps[@]}"; do check "$name"; done
for task in "${tasks[@]}"; do
    for name in "$task"_tradeoff_{mask,noise}; do
        if [ -n "${BASE:-}" ]; then check "$name"; else list "$name"; fi # else its base is made first
    done
done
for name in "${sweeps[@]}"; do
    one "$name"
    ids[$name]=$id
done
for task in "${tasks[@]}"; do
    after=''
    if [ -z "${BASE:-}" ]; then after=$(base_of "${task}_iwl_icl" "${ids[${task}_iwl_icl]}") || exit; fi
    for ablation in mask noise; do one "${task}_tradeoff_$ablation" "$after"; done
done
