package main

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/ottoci/otto/client"
)

// jsonView writes a run as lines of JSON. Each has one key, which says what it is: event, log or run.
type jsonView struct {
	mu  sync.Mutex
	out *json.Encoder
}

// jsonLog is a stretch of a task's log.
type jsonLog struct {
	Task    int64  `json:"task"`
	Name    string `json:"name"`
	Attempt int    `json:"attempt"`
	client.LogRecord
}

func newJSONView(out io.Writer) *jsonView {
	v := &jsonView{out: json.NewEncoder(out)}
	v.out.SetEscapeHTML(false)
	return v
}

func (v *jsonView) put(key string, value any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.out.Encode(map[string]any{key: value})
}

func (v *jsonView) start(client.RunDetail)   {}
func (v *jsonView) event(e client.Event)     { v.put("event", e) }
func (v *jsonView) end(run client.RunDetail) { v.put("run", run) }

func (v *jsonView) task(t client.Task, attempt int, _ client.Stage) taskLog {
	return &jsonTask{v, jsonLog{Task: t.Task, Name: t.Name, Attempt: attempt}}
}

type jsonTask struct {
	of   *jsonView
	base jsonLog
}

func (t *jsonTask) add(p client.LogRecord) {
	t.base.LogRecord = p
	t.of.put("log", t.base)
}

func (t *jsonTask) close([]client.Step) {}

// resultOnly leaves out of a view what is not the run's result.
type resultOnly struct{ view }

func (resultOnly) start(client.RunDetail)                      {}
func (resultOnly) event(client.Event)                          {}
func (resultOnly) task(client.Task, int, client.Stage) taskLog { return noLog{} }

type noLog struct{}

func (noLog) add(client.LogRecord) {}
func (noLog) close([]client.Step)  {}
