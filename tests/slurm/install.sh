#!/bin/sh
# Installs what a SLURM of one node takes, unless it is there.
if [ "$(id -u)" != 0 ]; then
    echo "tests/slurm/install.sh: SLURM's daemons take root" >&2
    exit 1
fi
exec "$(dirname "$0")/../install.sh" "munge slurmctld slurmd slurm-client" munged slurmctld slurmd sbatch
