#!/bin/sh
# Makes a directory with a command, whole or not at all: make_whole.sh LOCK DIRECTORY STAMP COMMAND...
# The stamp is written into what is whole; one that has a stamp already is brought up to date where it is. The command
# holds the lock, too: where it outlives an interrupted run, the next one waits for it.
set -eu

lock=$1 directory=$2 content=$3
shift 3
stamp=$directory/.gaiaflow-setup
making=$(dirname "$directory")/.$(basename "$directory").making

mkdir -p "$(dirname "$directory")"
exec 9>"$lock" 2>&1 </dev/null
flock 9
if [ -e "$stamp" ] && [ ! -e "$making" ]; then
    [ "$(cat "$stamp")" = "$content" ] || "$@"
else
    touch "$making"
    rm -rf "$directory"
    "$@" || {
        status=$?
        rm -rf "$directory"
        rm "$making"
        exit "$status"
    }
fi
printf %s "$content" >"$stamp"
rm -f "$making"
