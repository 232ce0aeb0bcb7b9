# What the scripts share: a script names what it sweeps, then calls `run` with the flags that all its elements have.
#
#   sbatch scripts/NAME.sh [FLAGS]         on SLURM, an array, one element a job
#   bash scripts/NAME.sh [FLAGS]           here, all elements one after the other
#   bash scripts/NAME.sh 3 [FLAGS]         here, the third
#   bash scripts/NAME.sh --list [FLAGS]    print the elements, quoted for a shell, and run nothing
#
# FLAGS go to main.py, after the script's own; paths in them start at the repository's root. Variables, in the environment or as
# arguments before FLAGS (PRESET=demo), which also reach a job where sbatch hands on no environment (--export=NONE):
#
#   PRESET          paper (default), laptop or demo
#   SEEDS           how many seeds (paper 10, otherwise 1; trade-offs: how many of the base's best seeds, 1)
#   SEEDS_PER_JOB   how many of them share a job, as one ensemble (all)
#   BASE            trade-offs: the folder to start from, instead of the unrotated-interleaved job of this preset
#   PYTHON          the interpreter (.venv/bin/python if it is there, else python3)
#   CACHE_DIR       language models: the folder of pretrained weights (~/.cache/llama2)
#
# What one site needs (modules, partition, environment) stands in scripts/site.sh, see site.example.sh.
. "${common%/*}/settings.sh"

# SLURM runs a copy of the script, named so.
in_batch_job() { [[ -n ${SLURM_JOB_ID:-} && $0 == */slurm_script ]]; }

selection=${words[0]:-all}
if ((${#words[@]} > 1)); then fail "${words[1]}: belongs to no flag; flags begin with --"; fi
case $selection in
    all | --list) ;;
    *[!0-9]*) fail "$selection: is neither the number of an element nor --list; flags begin with --" ;;
    *)
        if in_batch_job; then fail "$selection: sbatch takes an element's number as --array=$selection, before the script"; fi
        ;;
esac

# Without the submitting shell's variables nobody knows whether PRESET was one of them.
if in_batch_job && [[ ${SLURM_EXPORT_ENV:-ALL} != ALL* && -z ${PRESET:-} ]]; then
    fail "sbatch handed on no variables (--export=$SLURM_EXPORT_ENV), so PRESET is not known;" \
        "use scripts/submit.sh, or: sbatch scripts/$SWEEP_NAME.sh PRESET=paper"
fi
PRESET=${PRESET:-paper}
CACHE_DIR=${CACHE_DIR:-${HOME:-~}/.cache/llama2}

# Each element is a string of plain words without blanks or patterns: "--pt_cond blocked --seed 1 --n_runs 10".
elements=("")

# swept FLAG...: what each element sets may not be passed as well, as it would have no effect
swept() {
    local flag word
    for flag in "$@"; do
        for word in ${passed[@]+"${passed[@]}"}; do
            case $word in
                "--$flag" | "--$flag="*)
                    fail "--$flag: each element of this sweep has its own; leave the flag out, or call main.py with it"
                    ;;
            esac
        done
    done
}

# sweep FLAG VALUE...: each element so far, once with each value
sweep() {
    local flag=$1 element value product=()
    shift
    swept "$flag"
    for element in "${elements[@]}"; do
        for value in "$@"; do product+=("$element --$flag $value"); done
    done
    elements=(${product[@]+"${product[@]}"})
    if ((${#elements[@]} == 0)); then fail "--$flag: there are no values to sweep"; fi
}

# Seeds 1 to SEEDS, SEEDS_PER_JOB of them in an element.
sweep_seeds() {
    local seeds per first element product=()
    swept seed n_runs
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
    local program levels
    program='
import sys
from flags.presets import training_levels
print("levels", *(f"{level:g}" for level in training_levels(*sys.argv[1:])))'
    levels=$(ask_python -c "$program" "$PRESET" "$@") || exit
    sweep ablation_level ${levels##*levels}
}

# The context curricula of a task: sweep_curricula TASK
sweep_curricula() {
    local program curricula
    program='
import sys
from tasks import entry_of
print("curricula", *entry_of(sys.argv[1]).shown_curricula)'
    curricula=$(ask_python -c "$program" "$1") || exit
    sweep pt_cond ${curricula##*curricula}
}

# run FLAGS: the elements that were asked for, each with these flags for main.py
run() {
    common=(--preset "$PRESET" "$@" ${passed[@]+"${passed[@]}"})
    case $selection in
        --list) list_elements ;;
        all)
            if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then run_of_array; else run_all; fi
            ;;
        *)
            check_element "$selection"
            here "$selection"
            ;;
    esac
}

# run, for trade-offs: SEEDS of the base's best seeds, from BASE if that is set
run_on_base() {
    run "$@" --n_runs "${SEEDS:-1}" ${BASE:+--load_model_from "$BASE"}
}

# set_flags K: `flags` are those of element K for main.py
set_flags() {
    flags=(${SLURM_CPUS_PER_TASK:+--threads "$SLURM_CPUS_PER_TASK"} "${common[@]}" ${elements[$1 - 1]})
}

# check_element K: fails unless there is such an element
check_element() {
    if ! [[ $1 =~ ^[1-9][0-9]{0,5}$ ]] || (($1 > ${#elements[@]})); then fail "$1: there are elements 1 to ${#elements[@]}"; fi
}

list_elements() {
    local k
    for ((k = 1; k <= ${#elements[@]}; k++)); do
        set_flags "$k"
        printf '%s %s: %s\n' "$SWEEP_NAME" "$k" "$(quoted "${flags[@]}")"
    done
}

run_all() {
    local k status failed=()
    list_elements | ask_python -m runs.sweep "$SWEEP_NAME" > /dev/null || exit
    for ((k = 1; k <= ${#elements[@]}; k++)); do
        status=0
        here "$k" || status=$?
        case $status in
            0) ;;
            75 | 130) exit "$status" ;; # stopped by hand: not to be gone on with
            *) failed+=("$k") ;;
        esac
    done
    if ((${#failed[@]})); then
        echo "$SWEEP_NAME: failed: element ${failed[*]}" >&2
        exit 1
    fi
}

run_of_array() {
    local n=${#elements[@]} id=$SLURM_ARRAY_TASK_ID
    if ((${SLURM_ARRAY_TASK_MAX:-$n} < n)); then
        printf '%s: the sweep has %s elements, this array ends at %s; scripts/submit.sh %s submits all\n' \
            "$SWEEP_NAME" "$n" "$SLURM_ARRAY_TASK_MAX" "$SWEEP_NAME" >&2
    fi
    if ((id > n)); then
        echo "$SWEEP_NAME: the sweep has only $n elements; nothing to do"
    else
        check_element "$id"
        run_under_slurm "$id"
    fi
}

here() {
    set_flags "$1"
    echo "$SWEEP_NAME, element $1 of ${#elements[@]}: main.py $(quoted "${flags[@]}")"
    "$PYTHON" main.py "${flags[@]}"
}

# The job saves and leaves with status 75 when it is asked to stop; then it is put back into the queue and resumes.
run_under_slurm() {
    local pid status
    set_flags "$1"
    printf '%s, element %s of %s, SLURM job %s, start %s: main.py %s\n' "$SWEEP_NAME" "$1" "${#elements[@]}" \
        "$SLURM_JOB_ID" "$((${SLURM_RESTART_COUNT:-0} + 1))" "$(quoted "${flags[@]}")"
    # In the background, as a shell in `wait` acts on a signal at once; the signal reaches the shell alone and is passed on.
    "$PYTHON" main.py "${flags[@]}" &
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
            echo "$SWEEP_NAME: element $1 goes back into the queue"
            if scontrol requeue "$SLURM_JOB_ID"; then
                sleep 60 # until SLURM ends this start
            else
                echo "$SWEEP_NAME: element $1 could not be put back into the queue; submit it again, and it resumes" >&2
            fi
            ;;
    esac
    exit "$status"
}
