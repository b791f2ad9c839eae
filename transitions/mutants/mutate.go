package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A mutant is a file of transitions with one thing taken out.
type mutant struct {
	File string `json:"file"`
	Line int    `json:"line"`
	What string `json:"what"`

	path string // of the original
	text string // the whole file, mutated
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d %s", m.File, m.Line, m.What) }

// operator is a kind of guard: what it looks like, and what stands there when it is gone, so that the statement stays
// valid.
type operator struct {
	name    string
	pattern *regexp.Regexp
	with    string
}

// column is a column as conditions name it, with or without its table.
func column(names string) string { return `\b(?:[a-z]\.)?(?:` + names + `)` }

// operators lists all kinds. Those called guards are conditions, and count only where a condition can stand.
func operators() []operator {
	of := func(name, pattern, with string) operator { return operator{name, regexp.MustCompile(pattern), with} }
	return []operator{
		of("state guard", column("state")+` (?:not )?in \([^)]*\)`, "true"),
		of("state guard", column("state")+` (?:=|<>) '[a-z]+'`, "true"),
		of("state guard", column("state")+` = any\([a-z_]+\)`, "true"),
		of("state guard", column("state")+` <> [a-z]\.state\b`, "true"),
		of("lease guard", column("lease_id")+` = (?:[a-z_]+\.)?(?:lease_id|lease|id)\b`, "true"),
		of("lease guard", column("lease_id")+` = any\([a-z_]+\)`, "true"),
		of("epoch guard", column("epoch")+` (?:=|<>) [a-z_]+\.epoch\b`, "true"),
		of("holder guard", column("agent_id")+` (?:=|<>) (?:[a-z]\.)?agent\b`, "true"),
		of("end guard", column("finished_at|ended_at|used_at|revoked_at|log_done_at|log_object")+` is (?:not )?null`, "true"),
		of("order guard", `\blog_chunks = seq\b`, "true"),
		of("row lock", `\s+for (?:no key )?update(?: of [a-z](?:, [a-z])*)?(?: skip locked)?`, ""),
		of("run lock", `perform lock_run\([^;]*;`, "null;"),
		of("run lock", `\block_run\(run\)`, "runs where id = run"),
		of("advisory lock", `perform pg_advisory_xact_lock\([^;]*;`, "null;"),
		of("advisory lock", `\bpg_try_advisory_xact_lock\(hashtext\('[a-z._]+'\), (?:\([^)]*\)::int|hashtext\([a-z|/' ]+\)|\d+)\)`, "true"),
		of("conflict clause", `\s*\bon conflict(?: \([a-z_, ]+\))? do nothing`, ""),
		of("conflict clause", `\s*\bon conflict on constraint [a-z_]+ do update set [^;\n]*`, ""),
		of("conflict clause", `\s*\bon conflict \([a-z_, ]+\) do update\s+set [^;\n]*(?:\n\s+where [^;\n]*)?`, ""),
	}
}

// equivalents are mutants that no test could see; each says why.
func equivalents() []struct{ file, text, why string } {
	return []struct{ file, text, why string }{
		{"10_helpers.sql", "pg_try_advisory_xact_lock", "saves a transaction its second wake-up; one too many does nothing"},
		{"40_task.sql", "perform from tasks where state = 'ready'", "chooses the cheaper of two ways to the same tasks"},
		{"40_task.sql", "select requires from tasks where state = 'ready'", "a list that is too long is held against the tasks once more"},
		{"40_task.sql", "select distinct requires from tasks where state = 'ready'", "likewise"},
		{"45_task_stop.sql", "order by l.id for no key update of l", "an order against deadlocks, which Postgres would end by itself"},
		{"60_lease.sql", "for no key update of a skip locked", "likewise"},
		{"45_task_stop.sql", "from tasks t join leases l on l.task_id = t.id and l.ended_at is null", "locks the leases that are over, too, which nobody needs"},
		{"45_task_stop.sql", "where l.task_id = any(stopped) and l.ended_at is null", "leases_end and steps_record have the guard; this saves work"},
		{"60_lease.sql", "or exists (select from agents a where a.id = l.agent_id and a.state in ('offline', 'disabled'))", "lease_is looks again; this finds the rows"},
		{"65_auction.sql", "where id = auction and state = 'open' and closes_at > clock() for share", "one that is closed is over by the clock, too"},
		{"67_award.sql", "perform lock_run(x.run_id) from awards x where x.agent_id = agent", "locks more runs than it must; what follows finds the award"},
		{"70_log.sql", "where l.log_object is null", "what has an object is done; this is for the index"},
		{"80_agent.sql", "perform from leases where agent_id = agent and ended_at is null limit 1", "saves a write to an agent that has nothing to lose"},
		{"80_agent.sql", "and ended_at is null order by run_id, task_id) l", "lease_lose looks again; this finds the rows"},
		{"90_maintain.sql", "where r.finished_at is null and run_is_stuck(r.id)", "run_is_stuck looks again; this finds the rows"},
	}
}

// enumerate lists every mutant of the files of transitions in a directory.
func enumerate(dir, only string) ([]mutant, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	if err != nil || len(paths) == 0 {
		return nil, errors.Join(err, errors.New("run it from the top of the repository"))
	}
	var out []mutant
	for _, path := range paths {
		if !strings.Contains(path, only) || strings.Contains(path, "views") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, mutantsOf(path, string(text))...)
	}
	return out, nil
}

func mutantsOf(path, text string) (out []mutant) {
	file := filepath.Base(path)
	for _, op := range operators() {
		for _, at := range op.pattern.FindAllStringIndex(text, -1) {
			from := at[0] + len(text[at[0]:at[1]]) - len(strings.TrimLeft(text[at[0]:at[1]], " \n"))
			with, stands := op.with, true
			if strings.HasSuffix(op.name, "guard") {
				with, stands = without(text[:from])
			}
			if !stands || inComment(text, from) || isEquivalent(file, lineAt(text, from)) {
				continue
			}
			out = append(out, mutant{
				File: file, Line: 1 + strings.Count(text[:from], "\n"), What: op.name + " " + text[from:at[1]],
				path: path, text: text[:at[0]] + with + text[at[1]:],
			})
		}
	}
	return out
}

// without says what stands for a condition that is taken out, and whether what looks like one is: it may be a value that
// is being set. What refuses if the condition is met must not refuse any more.
func without(before string) (with string, stands bool) {
	words := strings.Fields(strings.TrimRight(before, "("))
	switch words[len(words)-1] {
	case "and", "where", "or", "on", "not":
		return "true", true
	case "if", "elsif":
		return "false", true
	}
	return "", false
}

func lineAt(text string, at int) string {
	begin := strings.LastIndex(text[:at], "\n") + 1
	line, _, _ := strings.Cut(text[begin:], "\n")
	return line
}

func inComment(text string, at int) bool {
	return strings.Contains(text[strings.LastIndex(text[:at], "\n")+1:at], "--")
}

func isEquivalent(file, line string) bool {
	for _, e := range equivalents() {
		if file == e.file && strings.Contains(line, e.text) {
			return true
		}
	}
	return false
}
