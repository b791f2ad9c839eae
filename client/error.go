package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is a refusal by the server: a problem document of RFC 9457.
type Error struct {
	Type   string        `json:"type,omitempty"`
	Title  string        `json:"title,omitempty"`
	Status int           `json:"status"`
	Detail string        `json:"detail,omitempty"`
	Code   string        `json:"code,omitempty"` // for programs, such as "fenced"
	Hint   string        `json:"hint,omitempty"` // the remedy, for people
	Errors []ErrorDetail `json:"errors,omitempty"`
	// Diagnostics are all findings about an Ottofile that has errors.
	Diagnostics []Diagnostic `json:"diagnostics,omitempty"`
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration `json:"-"`
}

// ErrorDetail is one of several things wrong with a request.
type ErrorDetail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty"`
	Value    any    `json:"value,omitempty"`
}

// CodeFenced marks the refusal of a report about a lease that the agent no longer holds.
const CodeFenced = "fenced"

// Error is the problem's detail.
func (e *Error) Error() string {
	switch {
	case e.Detail != "":
		return e.Detail
	case e.Title != "":
		return e.Title
	}
	return fmt.Sprintf("server answered %d %s", e.Status, http.StatusText(e.Status))
}

// IsStatus says whether the server refused with this HTTP status.
func IsStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

// IsFenced says whether the server refused because the lease is lost.
func IsFenced(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusConflict && e.Code == CodeFenced
}

// readError makes an Error of an answer, also of one by a proxy that knows nothing of problem documents.
func readError(resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	e := &Error{}
	if !strings.Contains(resp.Header.Get("Content-Type"), "json") || json.Unmarshal(body, e) != nil {
		*e = Error{}
	}
	e.Status = resp.StatusCode
	e.RetryAfter = retryAfter(resp.Header)
	return e
}

// retryAfter reads Retry-After. A date is compared with the server's own clock: ours may be wrong by hours.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}
