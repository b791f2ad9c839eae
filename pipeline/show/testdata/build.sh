#!/bin/sh
# Task build of stage build, to be run by hand at the root of a clean checkout.
# Plan sha256:0123
#
# An agent runs it in the container golang:1.26.
# An agent must offer cores>=2, gpu, os=linux.
# An agent stops it after 1h.
# It is tried again: retries 2 on failed, lost, exit code 75, each after 30s.
# An agent gives it the variables below, PATH, HOME and the numbers of its run (OTTO_RUN …), and no others of its host.
#
# It ends with 0 if the task succeeds, 1 if it fails, 2 if it is aborted, 3 if it is unstable.

_otto_worst=1 # 1 succeeded, 2 unstable, 3 aborted, 4 failed
_otto_halted=
_otto_dir=$(mktemp -d) || exit 1
trap 'rm -rf "$_otto_dir"' EXIT
mkdir "$_otto_dir/tmp"

# The worst outcome of the steps is the task's. After a failure, only steps marked always run.
_otto_ended() {
    [ "$1" -le "$_otto_worst" ] || _otto_worst=$1
    [ "$1" -lt 3 ] || _otto_halted=yes
}

export LANG=C.UTF-8 LC_ALL=C.UTF-8 TMPDIR="$_otto_dir/tmp"
export CI=true OTTO=true OTTO_ATTEMPT=1 OTTO_WORKSPACE="$PWD" OTTO_OUTPUT="$_otto_dir/output"
export OTTO_STAGE=build OTTO_TASK=build
export CGO_ENABLED=0

# Step 1: go build -o bin/web ./cmd/web
if [ -z "$_otto_halted" ]; then
cat >"$_otto_dir/script" <<'OTTO'
go build -o bin/web ./cmd/web
OTTO
(
    export OTTO_STEP='go build -o bin/web ./cmd/web'
    exec /bin/sh -e "$_otto_dir/script"
) </dev/null
case $? in
    0) _otto_ended 1 ;; # succeeded
    1) _otto_ended 4 ;; # failed
    2) _otto_ended 4 ;; # failed
    3) _otto_ended 2 ;; # unstable
    *) _otto_ended 4 ;; # failed
esac
fi

# Step 2: ./bin/web --version
# Its timeout is 1m1s.
# It does not run: branch == "main" is false: branch is "x"
#   ./bin/web --version

case $_otto_worst in
    1) exit 0 ;; # succeeded
    2) exit 3 ;; # unstable
    3) exit 2 ;; # aborted
    *) exit 1 ;; # failed
esac
