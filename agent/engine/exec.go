package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// Command is what runs in a container.
type Command struct {
	Argv []string
	Dir  string
	Env  []string
	Left string // a file in the task's directory for the list of processes that the command leaves running
}

// Wrapper is the program around a step. Like a keeper of the host it lets nothing outlive the step: what is still there a
// moment after the step's end it writes into a file, and kills. A signal that asks all to end makes it wait for all.
//
// It uses what every shell has built in, since an image may have little else.
const wrapper = `file=$1; shift
asked=
trap 'asked=1' TERM
"$@"
code=$?
look() {
    found=
    for d in /proc/[0-9]*; do
        p=${d#/proc/}
        case $p in 1|$$) continue ;; esac
        { read -r stat <"$d/stat"; } 2>/dev/null || continue
        name=${stat#*(}
        name=${name%)*}
        case ${stat##*) } in
        [ZX]*) continue ;;
        ?\ 1\ *) [ "$name" = cat ] && continue ;; # of the first process
        esac
        found="$found$p $name
"
    done
}
look
[ -z "$found" ] || { sleep 0.05 2>/dev/null; look; }
while [ -n "$asked" ] && [ -n "$found" ]; do sleep 0.05 2>/dev/null || sleep 1; look; done
[ -z "$found" ] || { printf '%s' "$found" >"$file"; kill -KILL -1; } 2>/dev/null
exit $code
`

// Exec is a command that runs, or has run.
type Exec struct {
	box   *Box
	id    string
	since time.Time
	link  client.HijackedResponse
}

// Launch starts a command.
func (b *Box) Launch(ctx context.Context, c Command) (*Exec, error) {
	argv := append([]string{"/bin/sh", "-c", wrapper, "otto", c.Left}, c.Argv...)
	return b.exec(ctx, client.ExecCreateOptions{User: b.user, Cmd: argv, Env: c.Env, WorkingDir: c.Dir})
}

func (b *Box) exec(ctx context.Context, options client.ExecCreateOptions) (*Exec, error) {
	options.AttachStdout, options.AttachStderr = true, true
	made, err := b.engine.api.ExecCreate(ctx, b.id, options)
	if err != nil {
		return nil, err
	}
	x := &Exec{box: b, id: made.ID, since: time.Now()}
	answer, err := b.engine.api.ExecAttach(ctx, x.id, client.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	x.link = answer.HijackedResponse
	return x, nil
}

// Wait passes on what the command writes until it has ended, and gives its exit code. That of one that a signal has ended
// is 128 more than the signal's number.
func (x *Exec) Wait(ctx context.Context, stdout, stderr io.Writer) (code int, err error) {
	defer x.link.Close()
	stop := context.AfterFunc(ctx, x.link.Close)
	defer stop()
	_, copied := stdcopy.StdCopy(stdout, stderr, x.link.Reader)
	// The end of the stream comes a moment before the engine has noted the command's end.
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		state, err := x.box.engine.api.ExecInspect(ctx, x.id, client.ExecInspectOptions{})
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, fmt.Errorf("ask how the step ended: %w", err)
		}
		if !state.Running {
			if copied != nil {
				return state.ExitCode, fmt.Errorf("read what the step writes: %w", copied)
			}
			return state.ExitCode, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Signal sends a signal to every process in the container but its first.
func (b *Box) Signal(ctx context.Context, signal string) error {
	_, _, err := b.capture(ctx, "0", "/bin/sh", "-c", "kill -"+signal+" -1")
	return err
}

// Kill ends the container at once, and all that is in it.
func (b *Box) Kill(ctx context.Context) error {
	_, err := b.engine.api.ContainerKill(ctx, b.id, client.ContainerKillOptions{Signal: "KILL"})
	return err
}

// capture runs a short command of Otto's own.
func (b *Box) capture(ctx context.Context, user string, argv ...string) (words string, code int, err error) {
	x, err := b.exec(ctx, client.ExecCreateOptions{User: user, Cmd: argv, WorkingDir: "/"})
	if err != nil {
		return "", 0, err
	}
	var out bytes.Buffer
	code, err = x.Wait(ctx, &out, &out)
	return string(bytes.TrimSpace(out.Bytes())), code, err
}

// oomPatience is how long the engine may take to tell that memory ran out, after what was killed for it has ended.
const oomPatience = 2 * time.Second

// Starved says whether a process of the container was killed since the command's start because memory ran out.
func (x *Exec) Starved(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, oomPatience+time.Second)
	defer cancel()
	found := x.box.engine.api.Events(ctx, client.EventsListOptions{
		Since: unix(x.since.Add(-time.Millisecond)), Until: unix(time.Now().Add(oomPatience)),
		Filters: client.Filters{}.Add("container", x.box.id).Add("event", string(events.ActionOOM)),
	})
	select {
	case <-found.Messages:
		return true
	case <-found.Err: // the time is over
		return false
	}
}

// unix writes a time as the engine reads it: seconds with fractions.
func unix(t time.Time) string {
	return strconv.FormatInt(t.Unix(), 10) + "." + fmt.Sprintf("%09d", t.Nanosecond())
}
