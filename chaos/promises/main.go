// Command promises runs the tests that docs/reliability.md names, and writes into its tables what came of them. Exit
// status: 0 all passed, 1 some did not.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"
)

// test is a test by its package, as a path below the module, and its name.
type test struct{ pkg, name string }

var named = regexp.MustCompile("`([a-z0-9/]+)\\.(Test[A-Za-z0-9_]+)`")

// column heads the cells that are written.
const column = "last result"

func main() {
	page := flag.String("page", "docs/reliability.md", "the page with the tables")
	flag.Parse()
	failed, err := run(*page)
	if err != nil {
		fmt.Fprintln(os.Stderr, "promises:", err)
		os.Exit(1)
	}
	if failed > 0 {
		fmt.Fprintf(os.Stderr, "promises: %d are not kept\n", failed)
		os.Exit(1)
	}
}

// run works the page and says how many rows have a test that did not pass.
func run(page string) (failed int, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return 0, err
	}
	results := map[test]string{}
	byPackage := map[string][]string{}
	for _, t := range testsIn(string(text)) {
		byPackage[t.pkg] = append(byPackage[t.pkg], t.name)
	}
	for _, pkg := range slices.Sorted(maps.Keys(byPackage)) {
		fmt.Fprintf(os.Stderr, "promises: %d tests of %s\n", len(byPackage[pkg]), pkg)
		if err := runTests(pkg, byPackage[pkg], results); err != nil {
			return 0, fmt.Errorf("run the tests of %s: %w", pkg, err)
		}
	}
	written, failed := fill(string(text), results, time.Now().UTC().Format("2006-01-02"))
	return failed, os.WriteFile(page, []byte(written), 0o644) //nolint:gosec // a page for everybody
}

// testsIn lists the tests that a text names, each once.
func testsIn(text string) (list []test) {
	for _, m := range named.FindAllStringSubmatch(text, -1) {
		if t := (test{m[1], m[2]}); !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list
}

// runTests runs tests of one package, and notes pass, fail or skip for each that ran.
func runTests(pkg string, names []string, results map[test]string) error {
	slices.Sort(names)
	cmd := exec.Command("go", "test", "-count=1", "-timeout", "15m", "-json", "-run", "^("+strings.Join(names, "|")+")$", "./"+pkg) //nolint:gosec // our own page
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct{ Action, Test string }
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Test != "" && !strings.Contains(e.Test, "/") && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
			results[test{pkg, e.Test}] = e.Action
		}
	}
	return lines.Err()
}

// fill writes the last cell of each row of the tables that have the column, and counts the rows where not all passed.
func fill(text string, results map[test]string, day string) (string, int) {
	var out strings.Builder
	inTable, failed := false, 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimRight(line, "\n"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case strings.TrimSpace(cells[len(cells)-2]) == column:
			inTable = true
		case inTable && !strings.HasPrefix(line, "|---"):
			verdict, kept := judge(testsIn(line), results)
			if !kept {
				failed++
			}
			if verdict != "" {
				verdict += " " + day
			}
			cells[len(cells)-2] = " " + verdict + " "
			line = strings.Join(cells, "|") + "\n"
		}
		out.WriteString(line)
	}
	return out.String(), failed
}

// judge sums up the results of a row's tests. A test that did not run counts as failed: it may not exist any more.
func judge(tests []test, results map[test]string) (verdict string, kept bool) {
	if len(tests) == 0 {
		return "", true
	}
	var not []string
	skipped := 0
	for _, t := range tests {
		switch results[t] {
		case "pass":
		case "skip":
			skipped++
		default:
			not = append(not, t.name)
		}
	}
	switch {
	case len(not) > 0:
		return "failed: " + strings.Join(not, ", "), false
	case skipped > 0:
		return fmt.Sprintf("%d of %d passed, %d skipped", len(tests)-skipped, len(tests), skipped), true
	}
	return fmt.Sprintf("%d of %d passed", len(tests), len(tests)), true
}
