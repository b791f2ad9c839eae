package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline/show"
)

// logFlags choose what of a run's output is printed.
type logFlags struct {
	task          int64
	step, attempt int
	follow, json  bool
}

func newLogs(a *app) *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs [RUN]",
		Short: "Print what the steps of a run have written",
		Long: `Logs prints the output of a run's tasks, one after the other in the order of the plan. Without RUN it is the latest.
Numbers of tasks are shown by otto show --json.` + exitStatus(exitDone, exitRefused),
		Example: examples("otto logs", "otto logs -f 3", "otto logs --task 12 --step 2 --attempt 1"),
		Args:    atMost(1, "run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := runArg(cmd, args)
			switch {
			case err != nil:
				return err
			case len(args) > 0 && f.task != 0:
				return usage(cmd, "give a run or a --task, not both")
			case f.task == 0 && (f.step != 0 || f.attempt != 0):
				return usage(cmd, "--step and --attempt need --task")
			}
			return a.onServer(cmd, func(ctx context.Context, c *connection) error {
				if f.task != 0 {
					return a.logsOfTask(ctx, c, f)
				}
				return a.logsOfRun(ctx, c, run, f)
			})
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the run is over")
	cmd.Flags().Int64Var(&f.task, "task", 0, "only the task of this `number`")
	cmd.Flags().IntVar(&f.step, "step", 0, "only the step of this `number`, from 1")
	cmd.Flags().IntVar(&f.attempt, "attempt", 0, "the attempt of this `number`, from 1; the last if absent")
	cmd.Flags().BoolVar(&f.json, "json", false, "print lines of JSON")
	return cmd
}

// logsOfRun prints the logs of all tasks that have begun; of one that still runs, what there is.
func (a *app) logsOfRun(ctx context.Context, c *connection, run string, f logFlags) error {
	detail, err := c.RunShow(ctx, run)
	if err != nil {
		return err
	}
	if f.follow && !client.Final(detail.State) && c.canWork() {
		view := a.logView(f)
		_, err := (&watcher{client: c.Client, run: client.RunNumber(detail.Run.Run), view: view, say: a.say}).watch(ctx)
		return err
	}
	view := a.logView(f)
	for _, stage := range detail.Stages {
		stage.Mode = "linear" // they are printed one after the other, whatever they were
		for _, t := range stage.Tasks {
			if t.Attempt == 0 {
				continue
			}
			log := view.task(t, t.Attempt, stage)
			err := readLog(ctx, c.Client, t.Task, t.Attempt, log.add)
			log.close(t.Steps)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// logsOfTask prints one log.
func (a *app) logsOfTask(ctx context.Context, c *connection, f logFlags) error {
	t, err := c.TaskShow(ctx, f.task)
	if err != nil {
		return err
	}
	attempt := f.attempt
	if attempt == 0 {
		attempt = t.Attempt
	}
	if t.Attempt == 0 {
		return fmt.Errorf("task %d has no log yet: it is %s%s", f.task, t.State, prefixed(", and waits for ", t.WaitingFor))
	}
	t.Steps = stepsOf(t, attempt)
	if f.step > len(t.Steps) {
		return fmt.Errorf("task %d has %s, and no step %d", f.task, show.Count(len(t.Steps), "step"), f.step)
	}
	log := a.logView(f).task(t.Task, attempt, client.Stage{Name: t.Stage, Mode: "linear"})
	defer log.close(nil)
	read := readLog
	if f.follow && c.canWork() {
		read = followLog
	}
	return read(ctx, c.Client, f.task, attempt, func(p client.LogRecord) {
		if f.step == 0 || p.Step == f.step-1 {
			log.add(p)
		}
	})
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// logView shows nothing but logs: a step alone as it is, without headings.
func (a *app) logView(f logFlags) view {
	switch {
	case f.json:
		return logsOnly{newJSONView(a.stdout)}
	case f.step != 0:
		return rawView{a.stdout}
	}
	return logsOnly{newLiveView(a.stdout, a.stdoutStyle())}
}

// logsOnly leaves out of a view what is not a log.
type logsOnly struct{ view }

func (logsOnly) start(client.RunDetail) {}
func (logsOnly) event(client.Event)     {}
func (logsOnly) end(client.RunDetail)   {}

// rawView writes bytes as they were.
type rawView struct{ out io.Writer }

func (rawView) start(client.RunDetail)                        {}
func (rawView) event(client.Event)                            {}
func (rawView) end(client.RunDetail)                          {}
func (v rawView) task(client.Task, int, client.Stage) taskLog { return rawLog(v) }

type rawLog struct{ out io.Writer }

func (l rawLog) add(p client.LogRecord) {
	if p.Kind == client.SegmentStdout || p.Kind == client.SegmentStderr {
		_, _ = l.out.Write(p.Bytes())
	}
}

func (rawLog) close([]client.Step) {}
