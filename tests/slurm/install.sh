#!/bin/sh
# Installs what a SLURM of one node takes, unless it is there. Needs root and Debian's packages.
PATH=$PATH:/usr/sbin
packages="munge slurmctld slurmd slurm-client"
if [ "$(id -u)" != 0 ]; then
    echo "tests/slurm/install.sh: SLURM's daemons take root" >&2
    exit 1
fi
if command -v munged && command -v slurmctld && command -v slurmd && command -v sbatch; then exit 0; fi > /dev/null
if ! command -v apt-get > /dev/null; then
    echo "tests/slurm/install.sh: there is no apt-get to install $packages with" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
install="apt-get install --yes --quiet --no-install-recommends $packages"
$install || { apt-get update --quiet && $install; } || {
    echo "tests/slurm/install.sh: $packages could not be installed" >&2
    exit 1
}
