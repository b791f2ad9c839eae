package api

import (
	"fmt"
	"testing"
)

func TestRanges(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"": "0 0 false", "bytes=0-": "0 10 true", "bytes=2-4": "2 5 true", "bytes=-3": "7 10 true", "bytes=-99": "0 10 true",
		"bytes=9-9": "9 10 true", "bytes=4-2": "0 0 false", "bytes=a-b": "0 0 false", "bytes=1-2,4-5": "0 0 false", "lines=1-2": "0 0 false",
		"bytes=--1": "0 0 false", "bytes=99999999999999999999-": "0 0 false",
	} {
		from, to, ok, err := parseRange(header, 10)
		if got := fmt.Sprint(from, to, ok); got != want || err != nil {
			t.Errorf("%q: %s %v, want %s", header, got, err, want)
		}
	}
	for _, header := range []string{"bytes=10-", "bytes=10-11", "bytes=-0"} {
		if _, _, _, err := parseRange(header, 10); err == nil {
			t.Errorf("%q is beyond the end", header)
		}
	}
}

func TestRecordIDs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "-1--1", "3-4": "3-4", "0": "0-9223372036854775807"} {
		if got, err := parseRecordID(text); err != nil || got.String() != want {
			t.Errorf("%q: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "-1", "1-", "1-x", "1-2-3"} {
		if _, err := parseRecordID(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
