#!/bin/sh
# Installs what looking at the report's page takes, unless it is there: Chromium, Debian's package, which takes root.
if command -v chromium > /dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then
    echo "tests/page/install.sh: installing chromium takes root" >&2
    exit 1
fi
if ! command -v apt-get > /dev/null; then
    echo "tests/page/install.sh: there is no apt-get to install chromium with" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet --no-install-recommends chromium fonts-dejavu-core"
$install || { apt-get update --quiet && $install; } || {
    echo "tests/page/install.sh: chromium could not be installed" >&2
    exit 1
}
