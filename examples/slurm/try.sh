#!/usr/bin/env bash
# Tries train.sbatch on a Slurm cluster of this one machine, made for the purpose in a scratch folder and gone afterwards.
#
#   apt-get install slurm-wlm munge libopenmpi-dev openmpi-bin libclang-dev
#   cargo build --release --features mpi
#   sudo examples/slurm/try.sh
#
# It submits the script, waits, interrupts a second job in the middle, resumes that with two processes instead of four, and
# checks what all of them left behind. Needs root, because Slurm's daemons do.
set -euo pipefail

say() { printf '== %s\n' "$*"; }
fail() { printf 'try.sh: %s\n' "$*" >&2; exit 1; }

[[ $(id -u) == 0 ]] || fail "Slurm's daemons want root: run it with sudo"
for program in munged slurmctld slurmd sbatch srun; do
    command -v "$program" > /dev/null || PATH=$PATH:/usr/sbin command -v "$program" > /dev/null \
        || fail "$program is missing: apt-get install slurm-wlm munge"
done
PATH=$PATH:/usr/sbin
root=$(cd "$(dirname "$0")/../.." && pwd)
SORDINO=${SORDINO:-${CARGO_TARGET_DIR:-$root/target}/release/sordino}
[[ -x $SORDINO ]] || fail "there is no $SORDINO: cargo build --release --features mpi"
export SORDINO

work=$(mktemp -d)
host=$(hostname -s)
cores=$(nproc)
cleanup() {
    for name in slurmd slurmctld munged; do
        [[ -f $work/$name.pid ]] && kill "$(cat "$work/$name.pid")" 2> /dev/null || true
    done
    sleep 1
    rm -rf "$work"
}
trap cleanup EXIT

say "a cluster of $host in $work"
mkdir -p "$work"/{state,spool,munge}
dd if=/dev/urandom of="$work/munge/key" bs=1024 count=1 status=none
chmod 700 "$work" "$work/munge"
chmod 400 "$work/munge/key"
munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed"
cat > "$work/slurm.conf" << CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
# More tasks than cores: what is tried is the script, not the machine.
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((cores > 4 ? cores : 4)) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
SlurmdParameters=config_overrides
CONF
export SLURM_CONF=$work/slurm.conf
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 30); do
    sinfo -h -o %T 2> /dev/null | grep -q -E 'idle|mixed' && break
    sleep 1
done
sinfo -h -o %T | grep -q -E 'idle|mixed' || { cat "$work"/slurm*.log >&2; fail "the node does not come up"; }

# Waits for a job to leave the queue.
ended() {
    for _ in $(seq "${2:-300}"); do
        [[ -z $(squeue -h -j "$1" 2> /dev/null) ]] && return
        sleep 1
    done
    cat "$work"/*.out >&2
    fail "job $1 does not end"
}
submit() { sbatch --parsable --chdir="$work" --output="$work/%j.out" "$@" "$root/examples/slurm/train.sbatch"; }

say "a run of four processes"
job=$(OUT=$work/whole EPOCHS=5 submit)
ended "$job"
cat "$work/$job.out"
grep -q '"workers": 4' "$work/whole/summary.json" || fail "the run left no summary of 4 workers"
[[ $(grep -c 'report: ' "$work/$job.out") == 1 ]] || fail "one process prints, and $(grep -c 'report: ' "$work/$job.out") did"

say "a run that is told to stop, and goes on with two"
job=$(OUT=$work/part EPOCHS=4000 submit)
for _ in $(seq 120); do
    [[ -f $work/part/checkpoint/latest ]] && break
    sleep 1
done
sleep 2
scancel --signal=INT "$job"
ended "$job"
cat "$work/$job.out"
grep -q 'sordino run --resume' "$work/$job.out" || fail "the interrupted run does not say how to go on"
job=$(OUT=$work/part submit --ntasks=2)
for _ in $(seq 120); do
    grep -q '^workers = 2' "$work/part/recipe.toml" && break
    sleep 1
done
grep -q '^workers = 2' "$work/part/recipe.toml" || { cat "$work/$job.out" >&2; fail "it does not go on with two processes"; }
sleep 2
scancel --signal=INT "$job"
ended "$job"
cat "$work/$job.out"
say "train.sbatch does what it says"
