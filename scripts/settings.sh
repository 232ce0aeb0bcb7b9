# What submit.sh and the sweeps' scripts share: go to the repository's root, read scripts/site.sh, take the arguments apart.
#
# Before it: SWEEP_NAME, which errors begin with. Arguments: [NAME=VALUE ...] [WORDS] [FLAGS]. After it: PRESET, SEEDS, … are
# checked, `words` are the words before the flags (an element's number, a sweep's name, --list), `passed` the flags for main.py.
#
# For bash 4.2 and newer. An empty array counts as unset before bash 4.4, hence ${array[@]+"${array[@]}"}.
if [ -z "${BASH_VERSION:-}" ]; then
    echo "$SWEEP_NAME: is written for bash; start it with: bash $0" >&2
    exit 2
fi

# Undo what a user's shell hands on (BASH_ENV, SHELLOPTS, BASHOPTS, exported functions), and what site.sh may set.
plain_shell() {
    set +o posix
    unset -f cd command echo exit kill printf return set shift shopt source trap type unalias wait sed sleep
    unalias -a
    export -n SHELLOPTS BASHOPTS
    unset CDPATH GLOBIGNORE
    IFS=$' \t\n'
    set +f +C
    shopt -u nullglob failglob nocasematch nocaseglob dotglob extdebug
    set -euo pipefail
}
plain_shell

cd -P -- "${BASH_SOURCE[0]%/*}/.."
SWEEP_ROOT=$PWD SWEEP_ARGUMENTS=("$@")

# site_failed STATUS FILE LINE COMMAND: the first command of site.sh that fails is told; the script goes on
site_failed() {
    local what
    trap - ERR
    case $2 in
        scripts/site.sh) what="line $3, ${4%%$'\n'*}" ;;
        */settings.sh) what="its last command" ;;
        *) what="$2, line $3, ${4%%$'\n'*}" ;;
    esac
    echo "$SWEEP_NAME: scripts/site.sh: $what: failed with status $1; continuing" >&2
}

# A site's files are seldom written for `set -eu`, and what they print must not stand in a list of elements.
if [ -e scripts/site.sh ]; then
    set --
    set +eu +o pipefail
    trap 'site_failed "$?" "${BASH_SOURCE[0]}" "$LINENO" "$BASH_COMMAND"' ERR
    trap 'echo "$SWEEP_NAME: scripts/site.sh ends the shell that reads it; it must not call exit" >&2; exit 2' EXIT
    source scripts/site.sh >&2
    trap - ERR EXIT
    plain_shell
    cd -P -- "$SWEEP_ROOT"
fi

# fail WORDS: one line, and the status of bad input
fail() {
    printf '%s: %s\n' "$SWEEP_NAME" "$*" >&2
    exit 2
}

# quoted WORDS: as a shell, and Python's shlex, read them back
quoted() {
    local word rest result=
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
            result+=" $word"
            continue
        fi
        rest=$word
        result+=" '"
        while [[ $rest == *\'* ]]; do
            result+=${rest%%\'*}"'\\''"
            rest=${rest#*\'}
        done
        result+="$rest'"
    done
    printf %s "${result# }"
}

# ask_python ARGUMENTS: prints what Python prints; if Python fails, its last line is the one that is shown
ask_python() {
    local printed
    if printed=$("$PYTHON" "$@" 2>&1); then
        printf '%s\n' "$printed"
        return
    fi
    printed=${printed##*$'\n'}
    case $printed in
        error:* | main.py:*) fail "$printed" ;;
        *) fail "PYTHON=$PYTHON: ended with an error: ${printed:-it said nothing}" ;;
    esac
}

# usage: the comment that the script begins with
usage() {
    local file=scripts/common.sh
    if [ "$SWEEP_NAME" = submit.sh ]; then file=scripts/submit.sh; fi
    sed -n -e '/^#!/d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$file"
    exit 0
}

# What is given as NAME=VALUE, or as --preset, wins over site.sh, and that over the environment.
take_arguments() {
    local word k own=--list
    if [ "$SWEEP_NAME" = submit.sh ]; then own="--all --dry_run"; fi
    words=() passed=()
    for word in "$@"; do
        if [[ $word == *[$'\n\r']* ]]; then fail "$(quoted "${word//[$'\n\r']/?}"): must not hold a line break (? here)"; fi
    done
    while (($#)); do
        case $1 in
            PRESET=* | SEEDS=* | SEEDS_PER_JOB=* | BASE=* | PYTHON=* | CACHE_DIR=*) printf -v "${1%%=*}" %s "${1#*=}" ;;
            --help | -h) usage ;;
            -*)
                if [[ " $own " != *" $1 "* ]]; then break; fi
                words+=("$1")
                ;;
            *) words+=("$1") ;;
        esac
        shift
    done
    passed=("$@")
    for ((k = 0; k < $#; k++)); do
        case ${passed[k]} in
            --preset) PRESET=${passed[k + 1]:-} ;;
            --preset=*) PRESET=${passed[k]#*=} ;;
        esac
    done
}

# A variable that is set must have a value that makes sense.
check_settings() {
    local name value
    for name in PRESET SEEDS SEEDS_PER_JOB BASE PYTHON CACHE_DIR; do
        if [ -z "${!name+set}" ]; then continue; fi
        value=${!name}
        if [ -z "$value" ]; then fail "$name is set and empty; give it a value or unset it"; fi
        if [[ $value == *[$'\n\r']* ]]; then fail "$name=${value//[$'\n\r']/?}: must not hold a line break (? here)"; fi
        case $name:$value in
            PRESET:demo | PRESET:laptop | PRESET:paper) ;;
            PRESET:*) fail "PRESET=$value: must be demo, laptop or paper" ;;
            SEEDS:* | SEEDS_PER_JOB:*)
                if ! [[ $value =~ ^[1-9][0-9]{0,3}$ ]]; then
                    fail "$name=$value: must be a whole number from 1 to 9999, written without zeros before it"
                fi
                ;;
        esac
    done
}

# The interpreter, as an absolute path: what it is here, it is in the job.
find_python() {
    local found
    PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
    if ! found=$(type -P -- "$PYTHON"); then
        fail "PYTHON=$PYTHON: does not exist; name an interpreter that has this project's packages"
    fi
    case $found in
        /*) PYTHON=$found ;;
        *) PYTHON=$PWD/$found ;;
    esac
}

take_arguments ${SWEEP_ARGUMENTS[@]+"${SWEEP_ARGUMENTS[@]}"}
check_settings
find_python
