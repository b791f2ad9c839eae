package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// heartbeatEvery keeps proxies from closing a quiet stream, and is how often a stream asks whether its token is still
// good.
const heartbeatEvery = 15 * time.Second

// sse writes server-sent events.
type sse struct{ *stream }

func newSSE(w http.ResponseWriter) sse {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	return sse{newStream(w)}
}

// event writes one event.
func (s sse) event(id, name string, data any) error {
	out, err := appendEvent(nil, id, name, data)
	if err == nil {
		_, err = s.Write(out)
	}
	return err
}

// appendEvent appends an event; an empty id or name is left out. JSON has no line breaks of its own, so data is one line.
func appendEvent(out []byte, id, name string, data any) ([]byte, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return out, err
	}
	if id != "" {
		out = append(append(append(out, "id: "...), id...), '\n')
	}
	if name != "" {
		out = append(append(append(out, "event: "...), name...), '\n')
	}
	return append(append(append(out, "data: "...), encoded...), "\n\n"...), nil
}

// comment writes what readers ignore.
func (s sse) comment() error {
	if _, err := s.Write([]byte(": still here\n\n")); err != nil {
		return err
	}
	return s.flush()
}
