package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ottoci/otto/client"
)

// sseEvent is one server-sent event.
type sseEvent struct{ id, name, data string }

// listen opens a stream and gives its events one by one; the channel is closed at its end.
func (n *node) listen(ctx context.Context, path string, header ...string) <-chan sseEvent {
	n.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.server.URL+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.token("reader"))
	req.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := n.server.Client().Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		n.t.Fatalf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	out := make(chan sseEvent)
	go func() {
		defer close(out)
		defer resp.Body.Close()
		var e sseEvent
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if value == "" && e != (sseEvent{}) {
					select {
					case out <- e:
					case <-ctx.Done():
						return
					}
				}
				e = sseEvent{}
			}
		}
	}()
	return out
}

// kinds are the kinds of a stream's events to its end, and what ended it.
func kinds(t *testing.T, stream <-chan sseEvent) (list []string, last sseEvent) {
	t.Helper()
	for e := range stream {
		last = e
		if e.name == "" {
			list = append(list, decode(t, e).Kind)
		}
	}
	return list, last
}

func decode(t *testing.T, e sseEvent) client.Event {
	t.Helper()
	var event client.Event
	if err := json.Unmarshal([]byte(e.data), &event); err != nil {
		t.Fatalf("%v: %s", err, e.data)
	}
	if event.ID != e.id {
		t.Errorf("the stream's id %s is not the event's %s", e.id, event.ID)
	}
	return event
}

func allKinds() []string {
	return []string{"run.created", "run.planned", "run.started", "stage.started", "task.ready", "task.scheduled", "task.started",
		"step.started", "step.succeeded", "step.completed", "task.succeeded", "task.completed", "stage.succeeded", "stage.completed",
		"run.succeeded", "run.completed"}
}

// A run's stream that is opened before the run works shows all its events in order, and ends by itself.
func TestRunEventsFollow(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	n.run(smallOttofile) // another run, whose events must not appear
	run := n.run(smallOttofile)
	stream := n.listen(t.Context(), fmt.Sprintf("/v1/runs/%d/events", run.Run))
	for range 2 {
		finish(t, agent, begin(t, agent))
	}
	got, last := kinds(t, stream)
	if !slices.Equal(got, allKinds()) || last.name != "end" {
		t.Errorf("got %v and then %+v", got, last)
	}
}

func TestRunEventsResume(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	run := n.run(smallOttofile)
	finish(t, agent, begin(t, agent))
	path := fmt.Sprintf("/v1/runs/%d/events", run.Run)
	// The last event may be held back for a moment by a transaction of somebody else.
	var page client.Page[client.Event]
	eventually(t, func() bool {
		page = into[client.Page[client.Event]](t, n.do("reader", "GET", path, nil), 200)
		return len(page.Items) == len(allKinds())
	})
	for i, e := range page.Items {
		got, last := kinds(t, n.listen(t.Context(), path, "Last-Event-ID", e.ID))
		if !slices.Equal(got, allKinds()[i+1:]) || last.name != "end" {
			t.Errorf("after %s: %v and then %+v", e.Kind, got, last)
		}
	}
	// The same, a page at a time.
	var paged []string
	for after := ""; ; {
		page := into[client.Page[client.Event]](t, n.do("reader", "GET", path+"?limit=3&after="+after, nil), 200)
		for _, e := range page.Items {
			paged = append(paged, e.Kind)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(paged, allKinds()) {
		t.Errorf("pages gave %v", paged)
	}
	refused(t, n.do("reader", "GET", path+"?after=x", nil), 422, "invalid")
	refused(t, n.do("reader", "GET", "/v1/runs/77/events", nil), 404, "not_found")
}

// The stream of everything begins now, or where it was told to, and shows every event once.
func TestAllEvents(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.token("reader") // now: that is an event, too
	before := n.run(smallOttofile)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var cursor string
	eventually(t, func() bool {
		page := into[client.Page[client.Event]](t, n.do("reader", "GET", "/v1/events?limit=500", nil), 200)
		cursor = page.Items[len(page.Items)-1].ID
		return page.Items[len(page.Items)-1].Kind == "task.ready"
	})
	now, resumed, whole := n.listen(ctx, "/v1/events"), n.listen(ctx, "/v1/events?after="+cursor), n.listen(ctx, "/v1/events?after=0-0")
	run := n.run(smallOttofile)
	for name, stream := range map[string]<-chan sseEvent{"now": now, "resumed": resumed} {
		for _, want := range allKinds()[:5] {
			if e := decode(t, <-stream); e.Kind != want || e.Run != run.Run {
				t.Errorf("%s: got %s of run %d, want %s of run %d", name, e.Kind, e.Run, want, run.Run)
			}
		}
	}
	var seen []string
	for e := range whole {
		event := decode(t, e)
		seen = append(seen, event.ID)
		if event.Run == run.Run && event.Kind == "task.ready" {
			break
		}
	}
	if len(seen) < 10 || len(slices.Compact(slices.Sorted(slices.Values(seen)))) != len(seen) {
		t.Errorf("%d events after run %d, some twice: %v", len(seen), before.Run, seen)
	}
}

// A stream that is far behind reads from the database until it has caught up with the tail, and misses nothing.
func TestSlowStreamCatchesUp(t *testing.T) {
	t.Parallel()
	n := start(t)
	run := n.run(smallOttofile)
	mustExec(t, n, `insert into events (at, kind, run_id, actor, data) select now(), 'test.event', $1, 'test', jsonb_build_object('n', g)
		from generate_series(1, 3000) g`, run.Run)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, path := range []string{"/v1/events?after=0-0", fmt.Sprintf("/v1/runs/%d/events", run.Run)} {
		stream := n.listen(ctx, path)
		want := 1.0
		for e := range stream {
			event := decode(t, e)
			if event.Kind != "test.event" {
				continue
			}
			if event.Data["n"] != want {
				t.Fatalf("%s: event %v, want %v", path, event.Data["n"], want)
			}
			if want++; want > 3000 {
				break
			}
		}
	}
}

func TestRevokedTokenEndsItsStreams(t *testing.T) {
	t.Parallel()
	n := start(t)
	a := n.api
	who, err := a.authority.identify(t.Context(), n.token("reader"))
	if err != nil {
		t.Fatal(err)
	}
	ctx := withRequest(t.Context(), &request{who: who})
	if !a.stillAllowed(ctx) {
		t.Error("a good token must do")
	}
	mustExec(t, n, "update tokens set revoked_at = now()")
	a.authority.forget()
	if a.stillAllowed(ctx) {
		t.Error("a revoked token still does")
	}
}

func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	n := start(t)
	stream := n.listen(t.Context(), "/v1/events")
	n.api.Stop()
	for range stream {
	}
}

func TestClientFollowsRunEvents(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	run := n.run(smallOttofile)
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { finish(t, agent, begin(t, agent)) })
	var got []string
	err := n.client("reader").RunEvents(t.Context(), client.RunNumber(run.Run), "", func(e client.Event) error {
		got = append(got, e.Kind)
		return nil
	})
	if err != nil || !slices.Equal(got, allKinds()) {
		t.Error(got, err)
	}
	enough := errors.New("enough")
	if err := n.client("reader").EventsFollow(t.Context(), "0-0", func(client.Event) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	if err := n.client("reader").RunEvents(t.Context(), "77", "", nil); !client.IsStatus(err, 404) {
		t.Error(err)
	}
}

func TestEveryAliasOfVelocityIsUsed(t *testing.T) {
	t.Parallel()
	var got []string
	for _, kind := range slices.Concat(allKinds(), []string{"run.failed", "run.aborted", "run.unstable", "task.failed", "task.aborted", "task.unstable", "step.failed"}) {
		got = append(got, aliases(kind, 1)...)
	}
	for _, want := range strings.Fields(`BUILD_START BUILD_SUCCESS BUILD_FAIL BUILD_COMPLETE TASK_START TASK_SUCCESS TASK_FAIL TASK_COMPLETE
		STEP_START STEP_SUCCESS STEP_FAIL STEP_COMPLETE BUILD_ABORT BUILD_UNSTABLE TASK_ABORT TASK_UNSTABLE`) {
		if !slices.Contains(got, want) {
			t.Errorf("no event has the alias %s", want)
		}
	}
	if got := aliases("task.completed", 0); got != nil {
		t.Errorf("a task without an attempt has the aliases %v", got)
	}
}
