# What the scripts share: a script names what it sweeps, then calls `run` with the flags that all its elements have.
#
#   sbatch scripts/NAME.sh [FLAGS]         on SLURM, an array, one element a job
#   bash scripts/NAME.sh [FLAGS]           here, all elements one after the other
#   bash scripts/NAME.sh 3 [FLAGS]         here, the third
#   bash scripts/NAME.sh --list [FLAGS]    print the elements and run nothing
#
# from the repository's root. FLAGS go to main.py, after the script's own. Variables:
#
#   PRESET          paper (default), laptop or demo
#   SEEDS           how many seeds (paper 10, otherwise 1; trade-offs: how many of the base's best seeds, 1)
#   SEEDS_PER_JOB   how many of them share a job, as one ensemble (all)
#   BASE            trade-offs: the folder to start from, instead of the unrotated-interleaved job of this preset
#   PYTHON          the interpreter (.venv/bin/python if it is there, else python3)
#
# What one site needs (modules, partition, environment) stands in scripts/site.sh, see site.example.sh.
set -euo pipefail

if [ -f scripts/site.sh ]; then source scripts/site.sh; fi
PRESET=${PRESET:-paper}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

name=$(basename "${SWEEP_NAME:-$0}" .sh)
selection=all
if [[ "${1:-}" == --list || "${1:-}" =~ ^[0-9]+$ ]]; then
    selection=$1
    shift
fi
passed=("$@")
elements=("")

# sweep FLAG VALUE...: each element so far, once with each value
sweep() {
    local flag=$1 element value product=()
    shift
    for element in "${elements[@]}"; do
        for value in "$@"; do product+=("$element --$flag $value"); done
    done
    elements=("${product[@]}")
}

# Seeds 1 to SEEDS, SEEDS_PER_JOB of them in an element.
sweep_seeds() {
    local seeds per first element product=()
    seeds=${SEEDS:-$([ "$PRESET" = paper ] && echo 10 || echo 1)}
    per=${SEEDS_PER_JOB:-$seeds}
    for element in "${elements[@]}"; do
        for ((first = 1; first <= seeds; first += per)); do
            product+=("$element --seed $first --n_runs $((seeds - first + 1 < per ? seeds - first + 1 : per))")
        done
    done
    elements=("${product[@]}")
}

# The levels that a trade-off of this preset trains at: sweep_levels TASK EXPERIMENT
sweep_levels() {
    sweep ablation_level $("$PYTHON" -c \
        'import sys; from flags.presets import training_levels; print(*(f"{x:g}" for x in training_levels(*sys.argv[1:])))' "$PRESET" "$@")
}

# run FLAGS: the elements that were asked for, each with these flags for main.py
run() {
    local n=${#elements[@]} k status failed=()
    common=(--preset "$PRESET" "$@" "${passed[@]}")
    if [ "$selection" = --list ]; then
        for ((k = 1; k <= n; k++)); do echo "$name $k: $(flags_of "$k")"; done
    elif [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
        if ((SLURM_ARRAY_TASK_MAX < n)); then
            echo "$name: the sweep has $n elements, this array ends at $SLURM_ARRAY_TASK_MAX; scripts/submit.sh $name submits all" >&2
        fi
        if ((SLURM_ARRAY_TASK_ID > n)); then
            echo "$name: there are only $n elements; nothing to do"
        else
            run_under_slurm "$SLURM_ARRAY_TASK_ID"
        fi
    elif [ "$selection" != all ]; then
        if ((selection < 1 || selection > n)); then
            echo "$name: $selection: there are elements 1 to $n" >&2
            exit 2
        fi
        here "$selection"
    else
        for ((k = 1; k <= n; k++)); do
            status=0
            here "$k" || status=$?
            case $status in
                0) ;;
                75 | 130) exit "$status" ;; # stopped by hand: not to be gone on with
                *) failed+=("$k") ;;
            esac
        done
        if ((${#failed[@]})); then
            echo "$name: failed: element ${failed[*]}" >&2
            exit 1
        fi
    fi
}

# run, for trade-offs: SEEDS of the base's best seeds, from BASE if that is set
run_on_base() {
    run "$@" --n_runs "${SEEDS:-1}" ${BASE:+--load_model_from "$BASE"}
}

flags_of() {
    echo "${SLURM_CPUS_PER_TASK:+--threads $SLURM_CPUS_PER_TASK }${common[*]}${elements[$1 - 1]}"
}

here() {
    echo "$name, element $1 of ${#elements[@]}: main.py $(flags_of "$1")"
    "$PYTHON" main.py $(flags_of "$1")
}

# The job saves and leaves with status 75 when it is asked to stop; then it is put back into the queue and goes on from there.
run_under_slurm() {
    local pid status
    echo "$name, element $1 of ${#elements[@]}, SLURM job $SLURM_JOB_ID, start $((${SLURM_RESTART_COUNT:-0} + 1)): main.py $(flags_of "$1")"
    # In the background, as a shell in `wait` acts on a signal at once; the signal reaches the shell alone and is passed on.
    "$PYTHON" main.py $(flags_of "$1") &
    pid=$!
    trap 'kill -USR2 "$pid" 2> /dev/null || true' USR1 USR2 TERM INT
    while true; do
        status=0
        wait "$pid" || status=$?
        if ! kill -0 "$pid" 2> /dev/null; then break; fi # else only the waiting was interrupted
    done
    status=0
    wait "$pid" || status=$?
    case $status in
        75 | 140) # 140: the signal came before the program listened, so there was nothing to save
            echo "$name: element $1 goes back into the queue"
            scontrol requeue "$SLURM_JOB_ID" && sleep 60 # until SLURM ends this start
            ;;
    esac
    exit "$status"
}
