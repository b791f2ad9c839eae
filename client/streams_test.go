package client

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A stream that breaks off is resumed after the last event that arrived whole; its end is its end.
func TestStreamIsResumed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Header.Get("Last-Event-ID"))
		try := len(asked)
		mu.Unlock()
		if r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("it accepts %q", r.Header.Get("Accept"))
		}
		switch try {
		case 1: // the third event is cut off
			_, _ = io.WriteString(w, ": hello\n\nid: 1-1\ndata: {\"id\":\"1-1\"}\n\nid: 1-2\r\ndata: {\"id\":\r\ndata: \"1-2\"}\r\n\r\nid: 1-3\ndata: {\"id\":")
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, "id: 1-3\ndata: {\"id\":\"1-3\"}\n\nevent: end\ndata: {}\n\n")
		}
	})
	var got []string
	err := c.RunEvents(t.Context(), "7", "1-0", func(e Event) error {
		got = append(got, e.ID)
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"1-1", "1-2", "1-3"}) || !slices.Equal(asked, []string{"1-0", "1-2", "1-2"}) {
		t.Errorf("got %v after asking for %v: %v", got, asked, err)
	}
}

func TestStreamEndsWithTheCallersError(t *testing.T) {
	t.Parallel()
	c := answer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "id: 1-1\ndata: {\"id\":\"1-1\"}\n\n")
	})
	enough := errors.New("enough")
	if err := c.EventsFollow(t.Context(), "", func(Event) error { return enough }); err != enough {
		t.Errorf("got %v", err)
	}
}

func TestStreamIsNotRepeatedAfterARefusal(t *testing.T) {
	t.Parallel()
	asked := 0
	c := answer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusNotFound)
	})
	if err := c.TaskLogFollow(t.Context(), 7, 1, "", nil); !IsStatus(err, 404) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestReadEvents(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200_000)
	var got []string
	take := func(data []byte) error {
		got = append(got, string(data))
		return nil
	}
	err := readEvents(strings.NewReader("data:a\n\n: note\n\nretry: 5\n\ndata: "+long+"\n\nevent: end\ndata: {}\n\ndata: never\n\n"), func() {}, take)
	if !errors.Is(err, errStreamEnded) || !slices.Equal(got, []string{"a", long}) {
		t.Errorf("%d events, %v", len(got), err)
	}
	endless := io.MultiReader(strings.NewReader("data: "), &endlessReader{})
	var taken *takeError
	if err := readEvents(endless, func() {}, take); !errors.As(err, &taken) {
		t.Errorf("a line without end: %v", err)
	}
}

type endlessReader struct{}

func (*endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A change whose outcome is not known is sent again with the same key.
func TestChangeIsRepeatedWithItsKey(t *testing.T) {
	t.Parallel()
	var keys []string
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys) < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, `{"run":7}`)
	})
	run, err := c.RunAbort(t.Context(), "7", RunAbort{})
	if err != nil || run.Run != 7 || len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("%+v %v with the keys %q", run, err, keys)
	}
}

func TestChangeIsNotRepeatedAfterARefusal(t *testing.T) {
	t.Parallel()
	asked := 0
	c := answer(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusConflict)
	})
	if _, err := c.RunRerun(t.Context(), "7"); !IsStatus(err, 409) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestAllReadsEveryPage(t *testing.T) {
	t.Parallel()
	c := answer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			_, _ = fmt.Fprint(w, `{"items":[{"run":2}],"next":"n"}`)
		case "n":
			_, _ = fmt.Fprint(w, `{"items":[{"run":1}]}`)
		}
	})
	runs, err := All(func(cursor string) (Page[Run], error) {
		return c.RunList(t.Context(), RunListOptions{Cursor: cursor, States: []string{"failed", "aborted"}})
	})
	if err != nil || len(runs) != 2 || runs[1].Run != 1 {
		t.Errorf("%+v %v", runs, err)
	}
}
