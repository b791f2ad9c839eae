// Mutants proves that the tests guard the guards: it takes one condition, lock or conflict clause at a time out of
// transitions/*.sql and runs the tests against that. A mutant that no test kills is printed, and fails the command.
//
//	go run ./transitions/mutants            all of them
//	go run ./transitions/mutants -only 45   those of files whose name contains 45
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// A mutant is a file of transitions with one thing taken out.
type mutant struct {
	file string
	line int
	what string
	text string // the whole file, mutated
}

// What is taken out. Each pattern's first group goes; what it is replaced by keeps the statement valid.
var operators = []struct {
	name    string
	pattern *regexp.Regexp
	with    string
}{
	{"state guard", regexp.MustCompile(`\b(?:[a-z]\.)?state (?:not )?in \([^)]*\)`), "true"},
	{"state guard", regexp.MustCompile(`\b(?:[a-z]\.)?state (?:=|<>) '[a-z]+'`), "true"},
	{"lease guard", regexp.MustCompile(`\b(?:[a-z]\.)?lease_id = (?:t\.)?lease(?:_id)?\b`), "true"},
	{"epoch guard", regexp.MustCompile(`\b(?:[a-z]\.)?epoch = [a-z_]+\.epoch`), "true"},
	{"holder guard", regexp.MustCompile(`\b(?:[a-z]\.)?agent_id = agent\b`), "true"},
	{"end guard", regexp.MustCompile(`\b(?:[a-z]\.)?(?:finished_at|ended_at|used_at|revoked_at|log_done_at|log_object) is (?:not )?null`), "true"},
	{"order guard", regexp.MustCompile(`\blog_chunks = seq\b`), "true"},
	{"row lock", regexp.MustCompile(` for no key update skip locked`), ""},
	{"row lock", regexp.MustCompile(` for no key update;`), ";"},
	{"run lock", regexp.MustCompile(`perform lock_run\([^;]*;`), "null;"},
	{"run lock", regexp.MustCompile(`perform pg_advisory_xact_lock\(hashtext\('otto\.run'[^;]*;`), "null;"},
	{"conflict clause", regexp.MustCompile(`\n?\s*on conflict \([a-z, ]+\) do nothing`), ""},
}

// equivalent mutants change nothing that a test could see; each says why.
var equivalent = []struct{ file, text, why string }{
	{"20_run.sql", "where s.run_id = run and s.state = 'waiting'", "a stage with a waiting task waits; the words are for the index"},
	{"45_task_stop.sql", "where l.task_id = any(stopped) and l.ended_at is null", "lease_end and steps_close have the guard; this saves calls"},
}

func main() {
	only := flag.String("only", "", "mutate files whose name contains this")
	list := flag.Bool("list", false, "print the mutants, run nothing")
	flag.Parse()
	mutants, err := enumerate(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if *list {
		for _, m := range mutants {
			fmt.Println(m)
		}
		return
	}
	survivors := 0
	for i, m := range mutants {
		start := time.Now()
		killed, err := m.run()
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutants:", err)
			os.Exit(2)
		}
		verdict := "killed"
		if !killed {
			verdict = "SURVIVED"
			survivors++
		}
		fmt.Printf("%3d/%d  %-8s  %s  (%.1f s)\n", i+1, len(mutants), verdict, m, time.Since(start).Seconds())
	}
	fmt.Printf("%d mutants, %d survived\n", len(mutants), survivors)
	if survivors > 0 {
		os.Exit(1)
	}
}

func (m mutant) String() string { return fmt.Sprintf("%s:%d %s", m.file, m.line, m.what) }

// enumerate lists every mutant of the files of transitions.
func enumerate(only string) ([]mutant, error) {
	files, err := filepath.Glob("transitions/*.sql")
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, errors.New("run it from the top of the repository"))
	}
	var out []mutant
	for _, file := range files {
		if !strings.Contains(file, only) || strings.Contains(file, "views") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, op := range operators {
			for _, at := range op.pattern.FindAllIndex(text, -1) {
				what := strings.TrimSpace(string(text[at[0]:at[1]]))
				line := 1 + strings.Count(string(text[:at[0]]), "\n")
				if commented(string(text), at[0]) || assigned(op.name, string(text[:at[0]])) || isEquivalent(file, lineOf(string(text), at[0])) {
					continue
				}
				out = append(out, mutant{file, line, op.name + " " + what, string(text[:at[0]]) + op.with + string(text[at[1]:])})
			}
		}
	}
	return out, nil
}

func lineOf(text string, at int) string {
	begin := strings.LastIndex(text[:at], "\n") + 1
	line, _, _ := strings.Cut(text[begin:], "\n")
	return line
}

func commented(text string, at int) bool {
	return strings.HasPrefix(strings.TrimSpace(lineOf(text, at)), "--")
}

// assigned says whether what looks like a condition is a value that is being set.
func assigned(operator, before string) bool {
	words := strings.Fields(before)
	switch words[len(words)-1] {
	case "and", "where", "or", "on", "not":
		return false
	}
	return strings.HasSuffix(operator, "guard")
}

func isEquivalent(file, line string) bool {
	for _, e := range equivalent {
		if strings.HasSuffix(file, e.file) && strings.Contains(line, e.text) {
			return true
		}
	}
	return false
}

// run tests the mutant, through an overlay: the working tree stays as it is. A mutant that does not even load is dead.
func (m mutant) run() (killed bool, err error) {
	dir, err := os.MkdirTemp("", "otto-mutant")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	mutated := filepath.Join(dir, "mutant.sql")
	original, err := filepath.Abs(m.file)
	if err != nil {
		return false, err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return false, err
	}
	config := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(mutated, []byte(m.text), 0o600), os.WriteFile(config, overlay, 0o600)); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "go", "test", "-overlay", config, "-failfast", "-timeout", "2m", "./transitions").CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); failed {
		if strings.Contains(string(out), "build failed") {
			return false, fmt.Errorf("%s: %s", m, out)
		}
		return true, nil
	}
	return false, err
}
