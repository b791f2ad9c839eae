package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// textHead is what comes before the bytes of a log.
type textHead struct {
	status       int
	attempt      int
	length       int64 // -1 if it is not known beforehand
	contentRange string
}

// head decides which bytes are sent, and says what can be said beforehand. A log that is still written is sent as far as
// it goes now, unless it is followed.
func (v *logView) head() (textHead, error) {
	q, size := v.query, v.reader.lease.LogBytes
	h := textHead{status: http.StatusOK, attempt: int(v.reader.lease.Epoch), length: -1}
	if q.Follow {
		return h, nil
	}
	v.window.toByte = size
	if q.Step >= 0 || q.Stream != "" || q.FromLine > 0 || q.Lines > 0 {
		return h, nil
	}
	h.length = size
	from, to, ok, err := parseRange(q.Range, size)
	if err != nil || !ok {
		return h, err
	}
	h.status, h.length = http.StatusPartialContent, to-from
	h.contentRange = fmt.Sprintf("bytes %d-%d/%d", from, to-1, size)
	v.window.fromByte, v.window.toByte = from, to
	return h, nil
}

func (t textHead) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", typeText+"; charset=utf-8")
	h.Set("X-Otto-Attempt", strconv.Itoa(t.attempt))
	if t.length >= 0 {
		h.Set("Accept-Ranges", "bytes")
		h.Set("Content-Length", strconv.FormatInt(t.length, 10))
	}
	if t.contentRange != "" {
		h.Set("Content-Range", t.contentRange)
	}
	w.WriteHeader(t.status)
}

// parseRange reads a Range of one stretch of bytes; to is the first byte beyond it. A range that we do not understand
// is as good as none, says RFC 9110; one that begins beyond the end cannot be satisfied.
func parseRange(header string, size int64) (from, to int64, ok bool, err error) {
	spec, found := strings.CutPrefix(header, "bytes=")
	first, last, cut := strings.Cut(spec, "-")
	if !found || !cut || strings.Contains(spec, ",") {
		return 0, 0, false, nil
	}
	beyond := newProblem(codeRange, "the log has %d bytes: %q is beyond them", size, header)
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			return 0, 0, false, nil
		}
		if n == 0 || size == 0 {
			return 0, 0, false, beyond
		}
		return max(size-n, 0), size, true, nil
	}
	from, e1 := strconv.ParseInt(first, 10, 64)
	to, e2 := size-1, error(nil)
	if last != "" {
		to, e2 = strconv.ParseInt(last, 10, 64)
	}
	if e1 != nil || e2 != nil || from < 0 || last != "" && to < from {
		return 0, 0, false, nil
	}
	if from >= size {
		return 0, 0, false, beyond
	}
	return from, min(to, size-1) + 1, true, nil
}
