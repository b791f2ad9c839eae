package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// watcher shows a run while it happens. Events say which tasks run; the log of each is followed on a connection of its
// own.
type watcher struct {
	client *client.Client
	run    string // its number, or what else names it
	view   view
	say    func(format string, args ...any)

	stages    map[string]client.Stage // by name
	following map[int64]*following
	followers sync.WaitGroup
}

// view is how a run is shown: live for people, as JSON, or quietly.
type view interface {
	start(client.RunDetail)
	event(client.Event)
	// task begins to show an attempt of a task; what it returns takes the parts of the log.
	task(t client.Task, attempt int, stage client.Stage) taskLog
	end(client.RunDetail)
}

// taskLog takes the log of one attempt, and then its end.
type taskLog interface {
	add(client.LogRecord)
	// close ends the log. Steps are what became of the attempt: a log may break off before it says so.
	close(steps []client.Step)
}

// following is the log of an attempt that is being read.
type following struct {
	stage string
	alone bool // it shares the screen with nobody
	over  func()
	done  chan struct{}
}

// logPatience is how long the log of a task that has ended is waited for: its agent may have been lost with the rest.
const logPatience = 5 * time.Second

// watch returns when the run is final and everything it said has been shown.
func (w *watcher) watch(ctx context.Context) (client.RunDetail, error) {
	w.following = map[int64]*following{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer w.followers.Wait()
	defer cancel(nil)
	detail, err := w.client.RunShow(ctx, w.run)
	if err != nil {
		return detail, err
	}
	w.view.start(detail)
	w.learn(detail)
	stopWaiting := w.explainWaiting(ctx)
	err = w.client.RunEvents(ctx, w.run, "", func(e client.Event) error { return w.take(ctx, e) })
	stopWaiting()
	if err != nil {
		return detail, fmt.Errorf("lost sight of run %s: %w", w.run, err)
	}
	w.awaitAll(ctx)
	if detail, err = w.client.RunShow(ctx, w.run); err != nil {
		return detail, err
	}
	w.view.end(detail)
	return detail, nil
}

func (w *watcher) learn(detail client.RunDetail) {
	w.stages = map[string]client.Stage{}
	for _, s := range detail.Stages {
		w.stages[s.Name] = s
	}
}

// take follows one event.
func (w *watcher) take(ctx context.Context, e client.Event) error {
	w.view.event(e)
	kind, verb, _ := strings.Cut(e.Kind, ".")
	switch {
	case kind == "task" && verb == "started":
		return w.follow(ctx, e)
	case kind == "task" && (client.Final(verb) || verb == "interrupted" || verb == "revoked" || verb == "requeued"):
		if f := w.following[e.Task]; f != nil {
			f.over()
		}
	}
	return nil
}

// follow begins to show an attempt.
func (w *watcher) follow(ctx context.Context, e client.Event) error {
	stage, known := w.stages[e.Stage]
	if !known { // the run had not been planned when we began
		detail, err := w.client.RunShow(ctx, w.run)
		if err != nil {
			return err
		}
		w.learn(detail)
		stage = w.stages[e.Stage]
	}
	f := &following{stage: e.Stage, alone: stage.Mode == "linear" || len(stage.Tasks) < 2, done: make(chan struct{})}
	w.awaitOthers(ctx, f)
	detail, err := w.client.TaskShow(ctx, e.Task)
	if err != nil {
		return err
	}
	detail.Steps = stepsOf(detail, e.Attempt)
	ctx, cancel := context.WithCancel(ctx)
	var once sync.Once
	f.over = func() { once.Do(func() { time.AfterFunc(logPatience, cancel) }) }
	w.following[e.Task] = f
	log := w.view.task(detail.Task, e.Attempt, stage)
	w.followers.Go(func() {
		defer close(f.done)
		defer cancel()
		w.copyLog(ctx, e.Task, e.Attempt, log)
	})
	return nil
}

// copyLog shows a log to its end.
func (w *watcher) copyLog(ctx context.Context, task int64, attempt int, log taskLog) {
	err := followLog(ctx, w.client, task, attempt, log.add)
	if err != nil && ctx.Err() == nil {
		w.say("otto: the log of task %d cannot be read: %v", task, err)
	}
	detail, err := w.client.TaskShow(context.WithoutCancel(ctx), task)
	if err != nil && ctx.Err() == nil {
		w.say("otto: task %d cannot be read: %v", task, err)
	}
	log.close(stepsOf(detail, attempt))
}

// stepsOf are the steps of one attempt.
func stepsOf(t client.TaskDetail, attempt int) []client.Step {
	for _, a := range t.Attempts {
		if a.Attempt == attempt {
			return a.Steps
		}
	}
	return nil
}

// awaitOthers keeps what runs one after the other apart on the screen: the log of a task that has ended may still be
// on its way.
func (w *watcher) awaitOthers(ctx context.Context, f *following) {
	for _, other := range w.following {
		if f.alone || other.stage != f.stage {
			other.wait(ctx)
		}
	}
}

func (w *watcher) awaitAll(ctx context.Context) {
	for _, f := range w.following {
		f.wait(ctx)
	}
}

// wait returns when the log has been read. Its task is over, so it has an end.
func (f *following) wait(ctx context.Context) {
	f.over()
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

// waitingAfter is how long nothing may happen before it is said why.
const waitingAfter = 3 * time.Second

// explainWaiting says what a run waits for, if it does so for long, until it is stopped.
func (w *watcher) explainWaiting(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		for said := ""; ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(waitingAfter):
			}
			detail, err := w.client.RunShow(ctx, w.run)
			if reason := waitingFor(detail); err == nil && reason != said {
				if said = reason; reason != "" {
					w.say("waiting for %s", reason)
				}
			}
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}

// waitingFor is what the first task of a run waits for, if no task runs.
func waitingFor(detail client.RunDetail) string {
	reason := ""
	for _, s := range detail.Stages {
		for _, t := range s.Tasks {
			switch t.State {
			case client.Running:
				return ""
			case client.Ready, client.Scheduled, client.Blocked:
				reason = first(reason, t.WaitingFor)
			}
		}
	}
	return reason
}
