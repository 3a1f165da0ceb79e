#!/bin/bash
# One node's torchrun. Slurm sends USR1 to the task alone, and torchrun would die of it: it goes to the trainer instead,
# whose processes write a checkpoint and end.
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
