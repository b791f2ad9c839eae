package api

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/store"
)

// logged is a task with a log.
type logged struct {
	*node
	agent *client.Client
	lease client.Lease
	whole []byte
	seq   int
}

func startLogged(t *testing.T) *logged {
	t.Helper()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	n.run("steps:\n  - sh: echo one\n  - sh: echo two\n")
	return &logged{node: n, agent: agent, lease: begin(t, agent)}
}

// chunk sends the next chunk: segments of a step, each with its text.
func (l *logged) chunk(step int, parts ...string) {
	l.t.Helper()
	c := client.LogChunk{Epoch: l.lease.Epoch, Seq: l.seq, Encoding: "zstd"}
	var raw []byte
	for i := 0; i+1 < len(parts); i += 2 {
		c.Segments = append(c.Segments, client.Segment{Step: step, Kind: parts[i], AtMS: int64(10 * l.seq), Bytes: len(parts[i+1])})
		raw = append(raw, parts[i+1]...)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	c.Bytes, c.Data = len(raw), enc.EncodeAll(raw, nil)
	ack, err := l.agent.LeaseLog(l.t.Context(), l.lease.ID, c)
	if err != nil || ack.Next != l.seq+1 {
		l.t.Fatal(ack, err)
	}
	l.seq++
	l.whole = append(l.whole, raw...)
}

// end finishes the task with the log that was sent.
func (l *logged) end() {
	l.t.Helper()
	_, err := l.agent.LeaseFinish(l.t.Context(), l.lease.ID, client.LeaseFinish{
		Epoch: l.lease.Epoch, Outcome: "succeeded", Log: client.LogTotal{Chunks: l.seq, Bytes: int64(len(l.whole))},
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// compact moves the log to the object store, as the job does.
func (l *logged) compact() {
	l.t.Helper()
	ctx, q := l.t.Context(), db.New(l.db.App)
	id := uuid.MustParse(l.lease.ID)
	rows, err := q.LogChunks(ctx, db.LogChunksParams{Lease: id, AtMost: 10_000})
	if err != nil {
		l.t.Fatal(err)
	}
	var object bytes.Buffer
	w := new(store.LogCodec).NewLogObject(&object)
	for _, r := range rows {
		c := store.LogChunk{Seq: int(r.Seq), FirstByte: r.FirstByte, Bytes: int(r.Bytes), FirstLine: r.FirstLine, Lines: int(r.Lines), Segments: r.Segments}
		if err := w.Add(c, r.Data); err != nil {
			l.t.Fatal(err)
		}
	}
	indexAt, _, err := w.Close()
	if err != nil {
		l.t.Fatal(err)
	}
	key := "logs/test/" + l.lease.ID
	if _, err := l.store.Put(ctx, key, &object, store.PutOptions{}); err != nil {
		l.t.Fatal(err)
	}
	done, err := q.LogCompact(ctx, db.LogCompactParams{Lease: id, Object: key, IndexAt: indexAt})
	if err != nil || len(done) != 1 {
		l.t.Fatal(done, err)
	}
}

func (l *logged) path(query string) string {
	return fmt.Sprintf("/v1/tasks/%d/log%s", l.lease.Task, query)
}

// fill writes a log in which lines cross chunks, some chunks have no line end, and some bytes are not text.
func (l *logged) fill() {
	l.t.Helper()
	l.chunk(0, "begin", "", "stdout", "one\ntw", "stderr", "o\n")
	l.chunk(0, "stdout", strings.Repeat("long", 100))
	l.chunk(0, "stdout", "\n\n", "end", "")
	l.chunk(1, "begin", "", "agent", "note\n", "stdout", "bin\xff\xfe\x00\n", "stderr", "ä")
	l.chunk(1, "stdout", "last\nwithout end", "end", "")
}

func TestLogRangesBeforeAndAfterCompaction(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	l.fill()
	l.end()
	t.Run("rows", l.testRanges)
	l.compact()
	t.Run("object", l.testRanges)
}

func (l *logged) testRanges(t *testing.T) {
	size := len(l.whole)
	get := func(query string, header ...string) reply {
		return l.do("reader", "GET", l.path(query), nil, header...)
	}
	if r := get(""); r.status != 200 || !bytes.Equal(r.body, l.whole) || r.header.Get("Content-Length") != fmt.Sprint(size) ||
		r.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("whole: %d %v %q", r.status, r.header, r.body)
	}
	for from := 0; from < size; from += 7 {
		for _, to := range []int{from, from + 1, from + 9, size - 1, size + 100} {
			if to < from {
				continue
			}
			r := get("", "Range", fmt.Sprintf("bytes=%d-%d", from, to))
			want := l.whole[from:min(to+1, size)]
			if r.status != 206 || !bytes.Equal(r.body, want) || r.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", from, min(to, size-1), size) {
				t.Errorf("bytes %d-%d: %d %q, want %q", from, to, r.status, r.body, want)
			}
		}
	}
	if r := get("", "Range", "bytes=-11"); string(r.body) != "without end" {
		t.Errorf("the last bytes: %q", r.body)
	}
	refused(t, get("", "Range", fmt.Sprintf("bytes=%d-", size)), 416, "range")
	lines := bytes.SplitAfter(l.whole, []byte("\n"))
	for from := 1; from <= len(lines)+1; from++ {
		for count := 0; count <= len(lines)+1; count++ {
			end := len(lines)
			if count > 0 {
				end = min(from-1+count, end)
			}
			var want []byte
			if from <= len(lines) {
				want = bytes.Join(lines[from-1:end], nil)
			}
			if r := get(fmt.Sprintf("?from_line=%d&lines=%d", from, count)); r.status != 200 || !bytes.Equal(r.body, want) {
				t.Errorf("%d lines from %d: %d %q, want %q", count, from, r.status, r.body, want)
			}
		}
	}
	for query, want := range map[string]string{
		"?step=1":                          "note\nbin\xff\xfe\x00\nälast\nwithout end",
		"?stream=stderr":                   "o\nä",
		"?step=1&stream=agent":             "note\n",
		"?attempt=1&step=0":                "one\ntwo\n" + strings.Repeat("long", 100) + "\n\n",
		"?from_line=2&stream=stderr":       "o\nä",
		"?follow=true&step=1&stream=agent": "note\n",
	} {
		if r := get(query); string(r.body) != want {
			t.Errorf("%s: %q, want %q", query, r.body, want)
		}
	}
}

func TestLogAsJSON(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	l.fill()
	l.end()
	c := l.client("reader")
	for _, place := range []string{"rows", "object"} {
		page, err := c.TaskLogPage(t.Context(), l.lease.Task, client.LogOptions{})
		if err != nil || !page.Complete || page.Bytes != int64(len(l.whole)) || page.Attempt != 1 {
			t.Fatalf("%s: %+v %v", place, page, err)
		}
		var got []byte
		for _, r := range page.Items {
			got = append(got, r.Bytes()...)
		}
		if !bytes.Equal(got, l.whole) || page.Items[0].Kind != "begin" || page.Items[len(page.Items)-1].Kind != "end" {
			t.Errorf("%s: %+v", place, page.Items)
		}
		for i, r := range page.Items {
			rest, err := c.TaskLogPage(t.Context(), l.lease.Task, client.LogOptions{After: r.ID})
			if err != nil || len(rest.Items) != len(page.Items)-i-1 {
				t.Errorf("%s: %d segments after %s, want %d; %v", place, len(rest.Items), r.ID, len(page.Items)-i-1, err)
			}
		}
		if place == "rows" {
			l.compact()
		}
	}
	refused(t, l.do("reader", "GET", l.path("?after=x"), nil, "Accept", "application/json"), 422, "invalid")
}

func TestLogPagesOfALargeLog(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	for i := range 7 {
		l.chunk(0, "stdout", strings.Repeat(fmt.Sprintf("%d\n", i), 200_000), "stderr", "x\n")
	}
	var got []byte
	pages := 0
	for after := ""; ; pages++ {
		page, err := l.client("reader").TaskLogPage(t.Context(), l.lease.Task, client.LogOptions{After: after, Stream: "stdout"})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Items {
			got = append(got, r.Bytes()...)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if want := bytes.ReplaceAll(l.whole, []byte("x\n"), nil); !bytes.Equal(got, want) || pages < 2 {
		t.Errorf("%d pages had %d bytes, want %d", pages, len(got), len(want))
	}
}

// A follower that came early sees every byte once, in order, while the log is written and compacted under its eyes.
func TestLogFollow(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	l.chunk(0, "begin", "", "stdout", "first\n")
	text, err := l.client("reader").TaskLog(t.Context(), l.lease.Task, client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	first := make([]byte, 6)
	if _, err := io.ReadFull(text, first); err != nil || string(first) != "first\n" {
		t.Fatalf("%q %v", first, err)
	}
	var records []byte
	var ids []string
	followed := make(chan error, 1)
	go func() {
		followed <- l.client("reader").TaskLogFollow(t.Context(), l.lease.Task, 1, "", func(r client.LogRecord) error {
			records, ids = append(records, r.Bytes()...), append(ids, r.ID)
			return nil
		})
	}()
	for i := range 20 {
		l.chunk(0, "stdout", fmt.Sprintf("line %d\n", i))
	}
	l.chunk(0, "stdout", "bye\n", "end", "")
	l.end()
	l.compact()
	rest, err := io.ReadAll(text)
	if err != nil || !bytes.Equal(append(first, rest...), l.whole) {
		t.Errorf("plain text: %q, %v", rest, err)
	}
	if err := <-followed; err != nil || !bytes.Equal(records, l.whole) {
		t.Errorf("segments: %q, %v", records, err)
	}
	resumed, last := 0, sseEvent{}
	for e := range l.listen(t.Context(), l.path(""), "Last-Event-ID", ids[9]) {
		if last = e; e.name == "" {
			resumed++
		}
	}
	if resumed != len(ids)-10 || last.name != "end" || last.data != fmt.Sprintf(`{"complete":true,"bytes":%d}`, len(l.whole)) {
		t.Errorf("%d segments after the tenth of %d, then %+v", resumed, len(ids), last)
	}
}

// A server that stops breaks a followed log off: nobody may take it for the whole.
func TestStopBreaksAFollowedLogOff(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	l.chunk(0, "stdout", "first\n")
	text, err := l.client("reader").TaskLog(t.Context(), l.lease.Task, client.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	if _, err := io.ReadFull(text, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	l.api.Stop()
	if rest, err := io.ReadAll(text); err == nil {
		t.Errorf("the log ended as if it were whole, with %q", rest)
	}
}

// Compaction in the middle of a read changes nothing of what is read.
func TestLogReaderSwitchesFromRowsToObject(t *testing.T) {
	t.Parallel()
	for switchAfter := range 4 {
		l := startLogged(t)
		for i := range 14 {
			l.chunk(0, "stdout", fmt.Sprintf("line %d\n", i))
		}
		l.end()
		lease, err := l.api.users.LeaseByID(t.Context(), uuid.MustParse(l.lease.ID))
		if err != nil {
			t.Fatal(err)
		}
		r := &logReader{queries: l.api.users, store: l.store, codec: l.api.codec, share: newLogShare(&l.api.codec.buffers), lease: lease}
		var got []byte
		for reads := 0; ; reads++ {
			if reads == switchAfter {
				l.compact()
			}
			g, over, err := r.read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if over {
				break
			}
			got = append(got, g.piece.raw...)
			g.letGo()
		}
		if !bytes.Equal(got, l.whole) {
			t.Errorf("switch after %d reads: %q", switchAfter, got)
		}
	}
}

func TestLogOfATaskWithoutAttempts(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.run(smallOttofile)
	task := into[client.RunDetail](t, n.do("reader", "GET", "/v1/runs/latest", nil), 200).Stages[0].Tasks[0].Task
	p := refused(t, n.do("reader", "GET", fmt.Sprintf("/v1/tasks/%d/log", task), nil), 404, "not_found")
	if p.Detail != fmt.Sprintf("task %d has no attempt yet, so it has no log", task) {
		t.Error(p.Detail)
	}
	agent, _ := n.enrol(client.AgentOffer{})
	begin(t, agent)
	if r := n.do("reader", "GET", fmt.Sprintf("/v1/tasks/%d/log", task), nil); r.status != 200 || len(r.body) != 0 {
		t.Errorf("an empty log: %d %q", r.status, r.body)
	}
	refused(t, n.do("reader", "GET", fmt.Sprintf("/v1/tasks/%d/log?attempt=2", task), nil), 404, "not_found")
}
