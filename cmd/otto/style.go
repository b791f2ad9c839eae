package main

import (
	"fmt"
	"time"

	"github.com/ottoci/otto/client"
)

// style paints text, or leaves it as it is.
type style struct{ on bool }

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string { return s.paint("1", text) }
func (s style) dim(text string) string  { return s.paint("2", text) }
func (s style) red(text string) string  { return s.paint("31", text) }

// prefixColours tell parallel tasks apart. Red and green are left to results.
var prefixColours = []string{"36", "35", "33", "34", "96", "95", "93", "94"}

func (s style) prefix(n int, text string) string {
	return s.paint(prefixColours[n%len(prefixColours)], text)
}

// state paints the word for a state.
func (s style) state(state string) string { return s.paint(stateColour(state), state) }

// mark is a state as one character.
func (s style) mark(state string) string {
	marks := map[string]string{
		client.Succeeded: "✓", client.Failed: "✗", client.Aborted: "■", client.Unstable: "!", client.Skipped: "-",
		client.Running: "▶", client.Aborting: "▶",
	}
	mark, ok := marks[state]
	if !ok {
		mark = "·"
	}
	return s.paint(stateColour(state), mark)
}

func stateColour(state string) string {
	switch state {
	case client.Succeeded:
		return "32"
	case client.Failed:
		return "31;1"
	case client.Aborted, client.Unstable, client.Aborting:
		return "33"
	case client.Running, client.Scheduled, client.Provisioning:
		return "36"
	}
	return "2"
}

// duration writes a span of time as people say it.
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d h %02d m", int(d.Hours()), int(d.Minutes())%60)
}

// between is the time from start to end, or to now; empty before the start.
func between(start, end *time.Time) string {
	if start == nil {
		return ""
	}
	if end == nil {
		return duration(time.Since(*start))
	}
	return duration(end.Sub(*start))
}

// size writes a number of bytes as people say it.
func size(bytes int64) string {
	switch {
	case bytes < 1<<10:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f kB", float64(bytes)/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30))
}
