package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// However the transitions are written: each lock, each conflict clause and each condition on who holds what is found.
func TestEveryGuardIsFound(t *testing.T) {
	t.Parallel()
	looksLikeOne := regexp.MustCompile(`\bfor (no key )?update\b|\bon conflict\b|advisory_xact_lock\(|\b(perform|from) lock_run\(|` +
		`\b(and|where|or|if|on) ([a-z]\.)?(state|epoch|lease_id|agent_id) (=|<>|in|not in)`)
	choice := regexp.MustCompile(`\bfilter \(where [^()]*\)`) // picks what to say, and refuses nothing
	paths, err := filepath.Glob("../*.sql")
	if err != nil || len(paths) == 0 {
		t.Fatal("there are no transitions", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := map[int]bool{}
		for _, m := range mutantsOf(path, string(text)) {
			for i := range 1 + strings.Count(m.What, "\n") {
				found[m.Line+i] = true
			}
		}
		for i, line := range strings.Split(string(text), "\n") {
			code, _, _ := strings.Cut(line, "--")
			code = choice.ReplaceAllString(code, "")
			if looksLikeOne.MatchString(code) && !found[i+1] && !isEquivalent(filepath.Base(path), line) {
				t.Errorf("%s:%d is not taken out: %s", filepath.Base(path), i+1, strings.TrimSpace(line))
			}
		}
	}
}

func TestWithout(t *testing.T) {
	t.Parallel()
	const text = "create function f() as $$\n" +
		"    if t.state <> 'running' then perform refuse(); end if; -- state = 'x'\n" +
		"    update tasks t set state = 'ready' where t.lease_id = h.lease and (state = any(states)) for no key update of t, l skip locked;\n"
	var got []string
	for _, m := range mutantsOf("x.sql", text) {
		_, rest, _ := strings.Cut(m.text, "\n")
		got = append(got, m.What+" → "+strings.TrimSpace(strings.Split(rest, "\n")[m.Line-2]))
	}
	want := []string{
		"state guard t.state <> 'running' → if false then perform refuse(); end if; -- state = 'x'",
		"state guard state = any(states) → update tasks t set state = 'ready' where t.lease_id = h.lease and (true) for no key update of t, l skip locked;",
		"lease guard t.lease_id = h.lease → update tasks t set state = 'ready' where true and (state = any(states)) for no key update of t, l skip locked;",
		"row lock for no key update of t, l skip locked → update tasks t set state = 'ready' where t.lease_id = h.lease and (state = any(states));",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}
