#!/usr/bin/env bash
# Stands in for what a machine of a cluster has and a test does not: `ssh HOST COMMAND` runs the
# command here as that host, and `systemctl`, `journalctl` know one unit, `fanfare`, of that host.
# WORLD is the test's directory; WORLD/HOST/ports holds the host's own ports by name.
set -euo pipefail

unit() {
    [ "${HOST:-}" ] || { echo "run it on a node: ssh NODE $*" >&2; exit 1; }
    echo "$WORLD/$HOST"
}

running() {
    local pid
    pid=$(cat "$1/pid" 2>/dev/null) && [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
}

start() {
    running "$1" && return
    # shellcheck disable=SC2046
    (
        set -a
        [ -e "$1/etc/environment" ] && . "$1/etc/environment"
        set +a
        cd "$1"
        exec setsid $(cat "$WORLD/exec-start") --config "$1/etc/node.toml" </dev/null >>"$1/log" 2>&1
    ) &
    echo $! >"$1/pid"
}

stop() {
    running "$1" || return 0
    kill -s "$2" "$(cat "$1/pid")"
    while running "$1"; do read -rt 0.05 <> <(:) || :; done
}

case "$(basename "$0")" in
ssh)
    export HOST=$1
    shift
    home="$WORLD/$HOST"
    [ -d "$home" ] || { echo "ssh: Could not resolve hostname $HOST" >&2; exit 255; }
    command="$*"
    command=${command//\/etc\/fanfare/$home/etc}
    command=${command//\/var\/lib\/fanfare/$home/data}
    . "$home/ports"
    command=${command//localhost:9100/127.0.0.1:$ops}
    export FANFARE_OPS="http://127.0.0.1:$ops"
    cd "$home"
    exec bash -c "$command"
    ;;
systemctl)
    home=$(unit "$*")
    case "$*" in
    "start fanfare") start "$home" ;;
    "stop fanfare") stop "$home" TERM ;;
    "restart fanfare") stop "$home" TERM; start "$home" ;;
    "kill -s KILL fanfare") stop "$home" KILL ;;
    "is-active fanfare") running "$home" && echo active || { echo inactive; exit 3; } ;;
    *) echo "the test knows no: systemctl $*" >&2; exit 1 ;;
    esac
    ;;
journalctl)
    home=$(unit "$*")
    [[ "$*" =~ ^-u\ fanfare\ -n\ ([0-9]+)$ ]] || { echo "the test knows no: journalctl $*" >&2; exit 1; }
    tail -n "${BASH_REMATCH[1]}" "$home/log"
    ;;
esac
