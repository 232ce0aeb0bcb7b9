#!/bin/sh
# Installs packages of Debian's, unless the commands that they bring are there. Takes root.
#   tests/install.sh "PACKAGES" COMMAND...
PATH=$PATH:/usr/sbin
packages=$1
shift
missing=
for name in "$@"; do command -v "$name" > /dev/null || missing=$name; done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "tests/install.sh: installing $packages takes root" >&2
    exit 1
fi
if ! command -v apt-get > /dev/null; then
    echo "tests/install.sh: there is no apt-get to install $packages with" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet --no-install-recommends $packages"
$install || { apt-get update --quiet && $install; } || {
    echo "tests/install.sh: $packages could not be installed" >&2
    exit 1
}
