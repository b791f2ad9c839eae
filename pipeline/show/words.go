package show

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ottoci/otto/pipeline"
)

// RequiresText writes requirements as people do: cores>=2, memory>=2GiB, os=linux, tools=git+helm, go>=1.25 <2.
func RequiresText(requires map[string]any) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(requires)) {
		switch v := requires[key].(type) {
		case bool:
			parts = append(parts, map[bool]string{true: key, false: "no " + key}[v])
		case string:
			parts = append(parts, key+"="+v)
		case []string:
			parts = append(parts, key+"="+strings.Join(v, "+"))
		case []any:
			var members []string
			for _, member := range v {
				members = append(members, plain(member))
			}
			parts = append(parts, key+"="+strings.Join(members, "+"))
		case pipeline.Range:
			parts = append(parts, key+rangeText(v))
		case map[string]any:
			bounds := map[string]string{}
			for op, version := range v {
				bounds[op] = plain(version)
			}
			parts = append(parts, key+rangeText(bounds))
		default:
			parts = append(parts, key+">="+leastText(v))
		}
	}
	return strings.Join(parts, ", ")
}

// limitTexts names each limit, and writes it.
func limitTexts(m *pipeline.TaskLimits) (out [][2]string) {
	for _, limit := range []struct {
		name  string
		value float64
	}{
		{"memory", float64(m.Memory)}, {"processes", float64(m.Processes)}, {"cpu", m.CPU}, {"open_files", float64(m.OpenFiles)},
		{"disk", float64(m.Disk)}, {"output", float64(m.Output)},
	} {
		if limit.value > 0 {
			out = append(out, [2]string{limit.name, leastText(limit.value)})
		}
	}
	return out
}

// rangeText writes a version range, the lower bound first.
func rangeText(bounds map[string]string) string {
	var parts []string
	for _, op := range []string{">=", ">", "=", "<", "<=", "!="} {
		if version, has := bounds[op]; has {
			parts = append(parts, op+version)
		}
	}
	return strings.Join(parts, " ")
}

// leastText writes a number; one of so many bytes as a size.
func leastText(v any) string {
	var n float64
	switch v := v.(type) {
	case int64:
		n = float64(v)
	case float64:
		n = v
	}
	for _, unit := range []struct {
		name string
		size float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}} {
		if n >= unit.size && n == math.Trunc(n/unit.size)*unit.size {
			return strconv.FormatFloat(n/unit.size, 'f', -1, 64) + unit.name
		}
	}
	return plain(v)
}

func retriesText(r *pipeline.Retries) string {
	on := slices.Clone(r.On)
	for _, code := range r.Exit {
		on = append(on, fmt.Sprintf("exit code %d", code))
	}
	text := fmt.Sprintf("retries %d on %s", r.Limit, strings.Join(on, ", "))
	if r.DelayMS > 0 {
		text += ", each after " + Milliseconds(r.DelayMS)
	}
	return text
}

func concurrencyText(c *pipeline.Concurrency) string {
	then := map[pipeline.OnConflict]string{
		pipeline.ConflictWait:       "waits while it is full",
		pipeline.ConflictAbortOlder: "aborts tasks of older runs in it",
		pipeline.ConflictSkip:       "is skipped if it is full",
	}[c.OnConflict]
	return fmt.Sprintf("%s, %d at a time; %s", c.Group, c.Limit, then)
}

// Milliseconds writes a duration of the plan as an Ottofile would.
func Milliseconds(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	var b strings.Builder
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / unit.size; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + unit.name)
			d %= unit.size
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// usualExit is what an exit code means when nobody says otherwise.
func usualExit(code string) string {
	usual := map[string]string{"0": "succeeded", "2": "aborted", "3": "unstable"}
	if outcome, ok := usual[code]; ok {
		return outcome
	}
	return "failed"
}

// sortedCodes are exit codes by number.
func sortedCodes(exits map[string]string) []string {
	codes := slices.Collect(maps.Keys(exits))
	slices.SortFunc(codes, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return codes
}

// plain writes a value without quotes.
func plain(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	return valueText(v)
}

// quoted writes the value of a variable so that its ends are seen.
func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, "\n\t\r ,\"") || strings.ContainsFunc(value, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(value)
	}
	return value
}

// clean marks the characters that would steer a terminal or turn the direction of writing. Line ends and tabs stay.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
		case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '\ufffd'
		}
		return r
	}, text)
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// baseOf is what outputs call a task.
func baseOf(t *pipeline.Task) string {
	if t.Base != "" {
		return t.Base
	}
	return t.Name
}

func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

func unescape(key string) string { return strings.NewReplacer("~1", "/", "~0", "~").Replace(key) }
