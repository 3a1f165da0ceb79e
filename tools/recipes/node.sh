#!/bin/bash
# Runs torchrun on one node. Slurm sends SIGUSR1 to this script only, and it would kill torchrun: it is sent on to the
# training processes instead, which write a checkpoint and end.
.venv/bin/torchrun "$@" &
agent=$!
trap 'pkill -USR1 -P "$agent"' USR1
wait "$agent"
status=$?
while kill -0 "$agent" 2>/dev/null; do # a signal ends `wait` before torchrun ends
    wait "$agent"
    status=$?
done
exit "$status"
