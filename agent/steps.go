package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ottoci/otto/client"
)

// alwaysLimit is how long all steps marked always may take together once the task was aborted or has timed out.
const alwaysLimit = 5 * time.Minute

// shell runs a step's script up to the first line that fails. It reads the script from a file: in argv everybody on the
// machine could read it, and its length would be limited.
var shell = []string{"/bin/sh", "-e"}

// runSteps runs the steps in order. After a failure, and once soft has ended, only those marked always still run.
func (t *task) runSteps(life, soft context.Context) {
	halted := false
	var after context.Context // for the steps that run after soft has ended
	var batch []client.StepReport
	first := t.firstStep()
	for i, spec := range t.lease.Spec.Steps {
		if spec.Omitted != "" {
			if i > first {
				batch = append(batch, t.steps[i])
			}
			continue
		}
		ctx, stopped := soft, soft.Err() != nil
		if stopped {
			t.halt(soft)
			if after == nil {
				var cancel context.CancelFunc
				after, cancel = context.WithTimeoutCause(life, alwaysLimit, errTaskTimeout)
				defer cancel()
			}
			ctx = after
		}
		if stopped && ctx.Err() != nil || (halted || stopped) && !spec.Always {
			batch = append(batch, t.steps[i])
			continue
		}
		if i > first { // that the first one runs was said with the start
			t.reporter.add(append(batch, client.StepReport{Index: i, State: client.Running}))
			batch = nil
		}
		t.steps[i] = t.runStep(life, ctx, i)
		batch = append(batch, t.steps[i])
		halted = halted || halts(t.steps[i].State) && !spec.AllowFailure
	}
}

func halts(state string) bool { return state == client.Failed || state == client.Aborted }

// halt keeps what ended the work before its steps did.
func (t *task) halt(soft context.Context) {
	if t.verdict == nil {
		t.verdict = context.Cause(soft)
	}
}

// runStep runs one step, framed in the log by its begin and its end.
func (t *task) runStep(life, ctx context.Context, i int) client.StepReport {
	began := time.Now()
	t.journal.mark(client.Segment{Step: i, Kind: client.SegmentBegin})
	report := t.execute(life, ctx, i)
	report.Index = i
	report.Reason = shorten(report.Reason)
	report.DurationMS = time.Since(began).Milliseconds()
	t.journal.mark(client.Segment{Step: i, Kind: client.SegmentEnd, State: report.State, ExitCode: report.ExitCode})
	t.log.InfoContext(ctx, "step finished", "step", i, "state", report.State, "reason", report.Reason, "duration_ms", report.DurationMS)
	return report
}

// execute runs the step's script and judges how it ended.
func (t *task) execute(life, task context.Context, i int) client.StepReport {
	spec := t.lease.Spec.Steps[i]
	job, err := t.job(spec)
	if err != nil {
		t.journal.say(i, "%v", err)
		return client.StepReport{State: client.Failed, Reason: err.Error()}
	}
	ctx := task
	if spec.TimeoutMS > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(task, milliseconds(spec.TimeoutMS), errStepTimeout)
		defer cancel()
	}
	ctx, watch := t.watch(ctx)
	defer watch.end()
	p, err := t.room.launch(ctx, job, func(ctx context.Context, kind string, b []byte) {
		t.journal.write(ctx, kind, i, b)
		watch.wrote(len(b))
	})
	if err != nil {
		t.journal.say(i, "%v", err)
		return client.StepReport{State: client.Failed, Reason: err.Error()}
	}
	t.await(life, ctx, p, i)
	t.tell(p, i)
	report := judge(p, ctx, spec)
	if cause := context.Cause(ctx); p.ordered(ctx) && !errors.Is(cause, errStepTimeout) && brokeLimit(cause) == "" {
		t.halt(task)
	}
	return report
}

// await waits for the step's end, and brings it about when ctx ends.
func (t *task) await(life, ctx context.Context, p *process, i int) {
	select {
	case <-p.ended:
		return
	case <-ctx.Done():
	}
	t.journal.say(i, "stopping the step: %s", client.ReasonText(context.Cause(ctx).Error()))
	if life.Err() != nil {
		p.kill()
	} else {
		p.stop(life, milliseconds(t.agent.settings.GraceMS))
	}
	<-p.ended
}

// tell puts into the log what happened to the step's processes.
func (t *task) tell(p *process, i int) {
	if n := len(p.ending.Left); n > 0 {
		t.journal.say(i, "killed %s that the step left running: %s", count(n), strings.Join(p.ending.Left, ", "))
	}
	if n := len(p.ending.Survivors); n > 0 {
		t.journal.say(i, "could not kill %s: %s", count(n), strings.Join(p.ending.Survivors, ", "))
	}
	if p.err != nil {
		t.journal.say(i, "%v", p.err)
	}
}

func count(n int) string {
	if n == 1 {
		return "1 process"
	}
	return strconv.Itoa(n) + " processes"
}

// ordered says whether the step ended because it was made to.
func (p *process) ordered(ctx context.Context) bool {
	return p.ending.Ordered || p.err != nil && ctx.Err() != nil
}

// judge says what a step's end means.
func judge(p *process, ctx context.Context, spec client.StepSpec) client.StepReport {
	code := p.ending.exitCode()
	report := client.StepReport{State: client.Failed, ExitCode: &code}
	cause := context.Cause(ctx)
	var order stopOrder
	switch {
	case p.ordered(ctx) && brokeLimit(cause) != "":
		report.Reason = brokeLimit(cause)
	case p.ordered(ctx) && (errors.Is(cause, errStepTimeout) || errors.Is(cause, errTaskTimeout)):
		report.Reason = "timeout"
	case p.ordered(ctx) && (errors.As(cause, &order) || errors.Is(cause, errStopped) || errors.Is(cause, errDrained)):
		report.State, report.Reason = client.Aborted, cause.Error()
	case p.ordered(ctx) && cause != nil:
		report.Reason = cause.Error()
	case p.err != nil:
		report.ExitCode, report.Reason = nil, p.err.Error()
	case p.ending.Limit != "" && (p.ending.Signal > 0 || code != 0):
		report.Reason = p.ending.Limit
	case p.ending.Signal > 0:
		report.Reason = "signal " + signalName(p.ending.Signal)
	default:
		if state, ok := spec.ExitCodes[strconv.Itoa(code)]; ok {
			report.State = state
		}
	}
	return report
}

// job writes the step's script and says how to run it.
func (t *task) job(spec client.StepSpec) (job, error) {
	dir, err := t.stepDir(spec.Dir)
	if err != nil {
		return job{}, err
	}
	script := t.path("script")
	if err := os.Remove(script); err != nil && !errors.Is(err, os.ErrNotExist) {
		return job{}, fmt.Errorf("cannot write the step's script: %w", err)
	}
	f, err := os.OpenFile(script, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return job{}, fmt.Errorf("cannot write the step's script: %w", err)
	}
	_, err = f.WriteString(spec.Sh)
	if err = errors.Join(err, f.Close(), t.share(script)); err != nil {
		return job{}, fmt.Errorf("cannot write the step's script: %w", err)
	}
	env := t.environ(spec)
	argv, err := t.room.command(spec.Shell, env)
	if err != nil {
		return job{}, err
	}
	return job{Argv: append(argv, script), Dir: dir, Env: env}, nil
}

// command is what runs a script. A program without a slash is looked for where the step would find it.
func command(asked, env []string) ([]string, error) {
	if len(asked) == 0 {
		return slices.Clip(shell), nil
	}
	argv := slices.Clone(asked)
	if strings.Contains(argv[0], "/") {
		return argv, nil
	}
	for _, entry := range env {
		list, ok := strings.CutPrefix(entry, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			at := filepath.Join(dir, argv[0])
			if info, err := os.Stat(at); err == nil && filepath.IsAbs(at) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				argv[0] = at
				return argv, nil
			}
		}
	}
	return nil, fmt.Errorf("cannot find the shell %q in the step's PATH", argv[0])
}

// stepDir finds the step's directory, which must be in the workspace, links included.
func (t *task) stepDir(dir string) (string, error) {
	if dir == "" {
		if _, err := os.Stat(t.path("workspace")); err != nil {
			return "", fmt.Errorf("cannot open the workspace: %w", err)
		}
		return t.path("workspace"), nil
	}
	root, err := os.OpenRoot(t.path("workspace"))
	if err != nil {
		return "", fmt.Errorf("cannot open the workspace: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(path.Clean(dir))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("the workspace has no directory %q", dir)
	case err != nil:
		return "", fmt.Errorf("cannot use directory %q: %w", dir, err)
	case !info.IsDir():
		return "", fmt.Errorf("cannot use directory %q: it is a file", dir)
	}
	return t.path(path.Join("workspace", dir)), nil
}

// shorten keeps a reason within what the protocol takes: 1000 characters.
func shorten(reason string) string {
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if runes := []rune(reason); len(runes) > 1000 {
		return string(runes[:999]) + "…"
	}
	return reason
}
