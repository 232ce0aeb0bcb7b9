#!/bin/sh
# Installs what tests/pretrained/requirements.txt lists, into an environment of its own that sees the packages of .venv: tests/pretrained/.venv
here=$(dirname "$0")
own=$here/.venv
wanted=$(cat "$here/requirements.txt" "$here"/../../requirements*.txt)
[ -f "$own/installed" ] && [ "$(cat "$own/installed")" = "$wanted" ] && exit 0
python=$here/../../.venv/bin/python
"$python" -m venv "$own" || exit 1
site=$("$own/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$site/packages.pth"
"$own/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    -r "$here/../../requirements-llm.txt" -r "$here/requirements.txt" || {
    echo "tests/pretrained/install.sh: its packages could not be installed" >&2
    exit 1
}
echo "$wanted" > "$own/installed"
