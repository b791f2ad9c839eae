package pipeline

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

func TestFindOttofile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names []string
		want  string
		found bool
	}{
		{[]string{"Ottofile", "Ottofile.yml", "Ottofile.yaml"}, "Ottofile.yaml", true},
		{[]string{"go.mod", "Ottofile", "Ottofile.yml"}, "Ottofile.yml", true},
		{[]string{"Ottofile"}, "Ottofile", true},
		{[]string{"ottofile.yaml", "Ottofile.json"}, "", false},
		{nil, "", false},
	} {
		if got, found := FindOttofile(c.names); got != c.want || found != c.found {
			t.Errorf("FindOttofile(%q) = %q, %v", c.names, got, found)
		}
	}
}

// manyTasks is an Ottofile as large installations write them: with a program.
func manyTasks(n int) []byte {
	var b strings.Builder
	b.WriteString("name: large\nenv: {A: one, B: two, C: three}\nstages:\n  - parallel:\n")
	for i := range n {
		fmt.Fprintf(&b, "      - task: unit %d\n        requires: {os: linux, cores: 2}\n        env: {N: %d, M: m}\n"+
			"        steps:\n          - sh: ./test %d\n            timeout: 5m\n          - sh: |\n              ./report\n", i, i, i)
	}
	return []byte(b.String())
}

func TestSameInputSamePlan(t *testing.T) {
	t.Parallel()
	f := File{Name: "Ottofile.yaml", Data: manyTasks(1000)}
	var last []byte
	for range 3 {
		plan, diags := Compile(f, Facts{})
		if plan == nil {
			t.Fatal(diags)
		}
		body, digest, err := plan.Encode()
		if err != nil || !strings.HasPrefix(digest, "sha256:") {
			t.Fatal(digest, err)
		}
		if last != nil && !bytes.Equal(last, body) {
			t.Fatal("the same file gave two plans")
		}
		last = body
	}
}

func TestAllProblemsAreSortedAndBounded(t *testing.T) {
	t.Parallel()
	f := File{Name: "Ottofile.yaml", Data: []byte("steps:\n" + strings.Repeat("  - make\n", 5000))}
	_, diags := Compile(f, Facts{})
	if len(diags) != maxDiagnostics+1 || diags[maxDiagnostics].Code != tooManyProblems {
		t.Fatalf("%d diagnostics, the last %s", len(diags), diags[len(diags)-1])
	}
	if !slices.IsSortedFunc(diags, func(a, b Diagnostic) int { return a.Line - b.Line }) {
		t.Error("they are not sorted")
	}
}

// However many warnings there are, they leave a plan; and an error among them is not lost.
func TestManyWarningsAreNoError(t *testing.T) {
	t.Parallel()
	plan, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte("steps:\n" + strings.Repeat("  - sh: make\n", 300))}, Facts{})
	if plan == nil || diags.HasErrors() || len(diags) != maxDiagnostics+1 {
		t.Errorf("plan %v, errors %v, %d diagnostics", plan != nil, diags.HasErrors(), len(diags))
	}
	r := newReport(newSource("Ottofile.yaml", strings.Repeat("x\n", 300)))
	for i := range 300 {
		r.add(exitTwo, span{line: i + 1, column: 1}, "a warning")
	}
	r.add(unknownKey, span{line: 299, column: 1}, "an error")
	diags = r.sorted()
	if !r.hasErrors() || !diags.HasErrors() || len(diags) != maxDiagnostics+1 ||
		!strings.HasPrefix(diags[maxDiagnostics].Message, "101 more") {
		t.Errorf("%d diagnostics, the last %s", len(diags), diags[len(diags)-1])
	}
}

func TestTextNeverDrivesATerminal(t *testing.T) {
	t.Parallel()
	plan, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte(`steps: [{sh: "a \e[31m b"}, "c \e[31m d"]`)}, Facts{})
	if plan != nil || strings.ContainsRune(diags.String(), 0x1b) {
		t.Errorf("%q", diags.String())
	}
	plan, diags = Compile(File{Name: "Ottofile.yaml", Data: []byte(`steps: [{sh: "a \e[31m b"}]`)}, Facts{})
	if plan == nil || strings.ContainsRune(plan.Stages[0].Tasks[0].Steps[0].Name, 0x1b) {
		t.Errorf("%v %q", plan, diags.String())
	}
}

// hostile files cost as little as others; BenchmarkHostile says how much.
func hostile() map[string]string {
	deep := func(s string, n int) string { return strings.Repeat(s, n) }
	indent := func(unit string) string {
		var b strings.Builder
		for i := range 1400 {
			b.WriteString(deep(" ", i) + unit)
		}
		return b.String()
	}
	lines := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	numbers := func(n int) string { return lines(n, "%d, ") + "x" }
	return map[string]string{
		"flow lists":       deep("[", maxFileBytes),
		"flow lists most":  deep("[", maxIndicators-1),
		"flow maps":        deep("{a: ", maxIndicators/2-1),
		"block lists":      deep("- ", maxIndicators-1),
		"block keys":       indent("a:\n"),
		"questions":        deep("? ", maxIndicators-1),
		"anchors":          deep("&a ", maxIndicators-1),
		"tags":             deep("!a ", maxIndicators-1),
		"one line":         "steps: [{sh: " + deep("a", maxFileBytes-20) + "}]",
		"one quoted line":  "steps: [{sh: \"" + deep("a", maxFileBytes-20) + "\"}]",
		"one literal":      "steps:\n- sh: |\n" + deep("    echo x\n", 90_000),
		"many lines":       "steps:\n- sh: a\n" + deep("    echo x\n", 90_000),
		"folded":           "steps:\n- sh: >\n" + deep("    echo x\n\n", 80_000),
		"blank":            deep("\n", maxFileBytes-20) + "steps: [{sh: a}]",
		"spaces":           deep(" ", maxFileBytes-20) + "steps: [{sh: a}]",
		"comments":         deep("# a\n", 250_000) + "steps: [{sh: a}]",
		"same keys":        deep("a: b\n", maxIndicators-1),
		"keys in flow":     "{" + deep("a: b, ", maxIndicators/2-10) + "}",
		"maps of keys":     "a:\n" + deep("- b:\n"+deep("    c: d\n", 490), 400),
		"strings in row":   deep("'a' ", maxIndicators/2),
		"quotes":           "- " + deep("''", maxIndicators/2-10),
		"documents":        deep("---\n", 200_000),
		"steps":            "steps:\n" + deep("- sh: a\n", maxSteps-1),
		"too many steps":   "steps:\n" + deep("- sh: a\n", maxIndicators/2-10),
		"flow steps":       "steps: [" + deep("{sh: a},", maxSteps-1) + "]",
		"tasks":            string(manyTasks(4000)),
		"typos":            "steps:\n" + deep("- hs: a\n", maxSteps-1),
		"long lines typos": deep("steps"+deep("x", 1000)+": a\n", 900),
		"unterminated":     "a: \"" + deep("\n x", 300_000),
		"aliases":          "steps:\n- &a {sh: x, env: {A: b}}\n" + deep("- *a\n", 10_000),
		"laughs": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" +
			"c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
		"shell subshells":   "steps:\n- sh: '" + deep("$(", 15_000) + "'",
		"shell parens":      "steps:\n- sh: '" + deep("(", 32_000) + "'",
		"shell ifs":         "steps:\n- sh: '" + deep("if ", 10_000) + "'",
		"shell braces":      "steps:\n- sh: '" + deep("${a:-", 6_000) + "'",
		"shell math":        "steps:\n- sh: '((" + deep("(", 30_000) + "'",
		"shell nots":        "steps:\n- sh: '" + deep("! ", 15_000) + "'",
		"shell heredocs":    "steps:\n- sh: |\n" + deep("    cat <<A\n", 2_500),
		"shell pipes":       "steps:\n- sh: a" + deep("|a", 15_000),
		"shell runs":        "steps:\n- sh: a" + deep("|sh", 10_000),
		"shell words":       "steps:\n- sh: echo " + deep("\"$a\"", 6_000),
		"many expressions":  "steps:\n" + lines(maxSteps-1, "- {sh: a, when: branch == '%d'}\n"),
		"one expression":    "steps:\n" + deep("- {sh: a, when: '["+deep("1,", 100)+"1].all(x, ["+deep("2,", 100)+"2].exists(y, x == y))'}\n", 1_500),
		"nested expression": "env:\n" + lines(400, "  A%[1]d: '${{ "+deep("(", 1000)+"%[1]d }}'\n"),
		"long expressions":  "env:\n" + lines(200, "  A%[1]d: '${{ "+deep("1 + ", 1000)+"%[1]d }}'\n"),
		"open expressions":  "env: { A: '" + deep("${{ \"", 100_000) + "' }\nsteps: [{sh: a}]",
		"small expressions": "env: { A: '" + deep("${{ 1 }}", 12_000) + "' }\nsteps: [{sh: a}]",
		"late expressions":  "stages:\n- {stage: b, outputs: [v], steps: [{sh: a}]}\n- parallel:\n" + lines(4_000, "  - {task: t%d, when: outputs.b.v == '1' && branch == '', steps: [{sh: a}]}\n"),
		"late chains": "stages:\n- linear:\n  - {task: t0, outputs: [v], steps: [{sh: a}]}\n" +
			lines(4_000, "  - {task: u%d, when: outputs.t0.v == '1', needs: [t0], steps: [{sh: a}]}\n"),
		"expression loops": "env: { A: '${{ [1].map(a, [1].map(b, [1].map(c, [1].map(d, d)))) }}' }\nsteps: [{sh: a}]",
		"regex":            "steps: [{sh: a, when: 'branch.matches(\"" + deep("(a*)*", 600) + "\")'}]",
		"matrix bomb":      "stages:\n- {stage: a, matrix: {" + lines(10, "a%d: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],") + "}, steps: [{sh: a}]}",
		"matrix legs":      "stages:\n" + lines(10, "- {stage: s%d, matrix: {a: ["+numbers(990)+"]}, steps: [{sh: a, env: {A: '${{ matrix.a }}'}}]}\n"),
		"matrix excludes":  "stages:\n- {stage: a, matrix: {a: [" + numbers(990) + "], exclude: [" + lines(30_000, "{a: x%d},") + "]}, steps: [{sh: a}]}",
		"matrix includes":  "stages:\n- {stage: a, matrix: {include: [" + lines(30_000, "{a: x%d},") + "]}, steps: [{sh: a}]}",
		"params":           "params: {" + lines(100, "p%d: {pattern: '(a|b){1,500}', enum: ["+deep("aaaaa, ", 300)+"b]},") + "}\nsteps: [{sh: a}]",
		"param values":     "params: {a: {enum: [" + lines(50_000, "v%d, ") + "b], default: x}}\nsteps: [{sh: a}]",
		"pattern":          "params: {a: {pattern: '((((a{0,30}){0,30}){0,30}){0,30}){0,30}'}}\nsteps: [{sh: a}]",
		"globs":            "on: {push: {paths: ['" + deep("{a,b}", 150) + "', '" + deep("**/", 300) + "x', '" + deep("*a", 400) + "']}}\nsteps: [{sh: a, when: 'changed(\"" + deep("{a,b}", 20) + "\")'}]",
		"many globs":       "on: {push: {paths: [" + lines(40_000, "'a%d/**',") + "]}}\nsteps: [{sh: a}]",
		"needs": "stages:\n- {stage: a, matrix: {a: [" + numbers(990) + "]}, steps: [{sh: a}]}\n- parallel:\n" +
			lines(4_000, "  - {task: t%d, needs: [a], steps: [{sh: a}]}\n"),
		"outputs":     "stages:\n- {stage: a, outputs: [" + lines(50_000, "v%d, ") + "], steps: [{sh: a}]}",
		"shell nests": "steps:\n- sh: '" + deep("sh -c \"$(", 400) + deep(")\"", 400) + "'",
	}
}

func TestHostile(t *testing.T) {
	t.Parallel()
	for name, text := range hostile() {
		for _, read := range []func() (*Plan, Diagnostics){
			func() (*Plan, Diagnostics) {
				return Compile(File{Name: "Ottofile.yaml", Data: []byte(text)}, hostileFacts())
			},
			func() (*Plan, Diagnostics) { return FromModel([]byte(text)) },
		} {
			plan, diags := read()
			if (plan == nil) != diags.HasErrors() || len(diags) > maxDiagnostics+1 {
				t.Errorf("%s: plan %v, %d diagnostics", name, plan != nil, len(diags))
			}
		}
	}
}

// hostileFacts are an event and parameters that make much of a hostile file.
func hostileFacts() Facts {
	changed := make([]string, 3000)
	for i := range changed {
		changed[i] = fmt.Sprintf("%s/%d", strings.Repeat("a", 60), i)
	}
	return Facts{Event: Event{Kind: EventPush, Branch: strings.Repeat("a", 200), Changed: changed}}
}

// No file takes a second of the processor, or makes more than 400 MB of garbage in all. It runs alone, before the parallel
// tests. What others do to the machine is not the file's fault: the process's own time counts, and the best of some tries.
func TestHostileCost(t *testing.T) {
	facts := hostileFacts()
	for name, text := range hostile() {
		best, tries := time.Hour, 0
		for ; best > time.Second && tries < 4; tries++ {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := usedCPU(t)
			Compile(File{Name: "Ottofile.yaml", Data: []byte(text)}, facts)
			best = min(best, usedCPU(t)-began)
			runtime.ReadMemStats(&after)
			if made := after.TotalAlloc - before.TotalAlloc; made > 400<<20 {
				t.Errorf("%s makes %d MB", name, made>>20)
			}
		}
		if best > time.Second {
			t.Errorf("%s takes %s of the processor", name, best)
		}
		if testing.Verbose() && best > 300*time.Millisecond {
			t.Logf("%s takes %s", name, best)
		}
	}
}

// usedCPU is what this process has used of the processor for itself.
func usedCPU(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano())
}

// What a large installation writes fits: ten thousand tasks in one file.
func TestTenThousandTasks(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("stages:\n  - parallel:\n")
	for i := range maxTasks {
		fmt.Fprintf(&b, "      - task: t%d\n        requires: { os: linux }\n        steps: [{sh: make}]\n", i)
	}
	plan, diags := Compile(File{Name: "Ottofile.yaml", Data: []byte(b.String())}, Facts{})
	if plan == nil || len(plan.Stages[0].Tasks) != 10_000 {
		t.Error(diags)
	}
}

func BenchmarkHostile(b *testing.B) {
	all := hostile()
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for k := range all {
			if !yield(k) {
				return
			}
		}
	}) {
		f := File{Name: "Ottofile.yaml", Data: []byte(all[name])}
		b.Run(strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Compile(f, Facts{})
			}
		})
	}
}

func BenchmarkCompile1000Tasks(b *testing.B) {
	f := File{Name: "Ottofile.yaml", Data: manyTasks(1000)}
	b.SetBytes(int64(len(f.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if plan, diags := Compile(f, Facts{}); plan == nil {
			b.Fatal(diags)
		}
	}
}

// FuzzCompile proves that no file panics, that a plan is there exactly if no error is, and that a plan stays the same.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		"steps: [{sh: make}]", "stages:\n  - parallel:\n    - task: a\n      steps: [{sh: b}]\n", "a: &a [*a]", "<<: {a: b}",
		"steps:\n- sh: |\n   a\n  b", "{", "'", "? a\n: b", "!!str a", "\t", "a:\n - b\n c", "steps: [{sh: >-\n x}]",
		"always: [{stage: a, retries: {limit: 1, on: [exit: [3]]}, steps: [{sh: 'grep \"'}]}]\nstages: []",
		`{"uuid":"0aa80ba1-4a4f-4a4f-8a4f-000000000001","batches":[{"contexts":[{"steps":[{"symbol":"sh","parameters":["x"]}]}]}]}`,
	} {
		f.Add([]byte(seed), "main", "a")
	}
	for _, path := range []string{"everything", "later_lists", "matrix_product", "needs_graph", "environments", "params_as_text", "trigger_pull_request"} {
		a, err := txtar.ParseFile("testdata/plans/" + path + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		for _, x := range a.Files {
			if x.Name == "Ottofile.yaml" {
				f.Add(x.Data, "main", "a")
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, branch, param string) {
		facts := Facts{Event: Event{Kind: EventPush, Branch: branch, Changed: []string{param}, Message: branch}}
		if branch == "pr" {
			facts.Event.Kind, facts.Event.PullRequest = EventPullRequest, &PullRequest{Number: 1, Base: param, Labels: []string{param}}
		}
		if strings.Contains(string(data), "params:") {
			facts.Params = map[string]any{"a": param}
		}
		for _, read := range []func() (*Plan, Diagnostics){
			func() (*Plan, Diagnostics) { return Compile(File{Name: "Ottofile.yaml", Data: data}, facts) },
			func() (*Plan, Diagnostics) { return FromModel(data) },
		} {
			plan, diags := read()
			again, sameDiags := read()
			if (plan == nil) != diags.HasErrors() {
				t.Fatalf("plan %v, but diagnostics:\n%s", plan != nil, diags)
			}
			if diff := cmp.Diff(plan, again) + cmp.Diff(diags, sameDiags); diff != "" {
				t.Fatalf("the second reading differs:\n%s", diff)
			}
			if plan != nil {
				for ptr := range planLeaves(t, plan) {
					o, ok := plan.Origins[ptr]
					if !ok {
						t.Fatalf("%s has no origin", ptr)
					}
					if o.Note == "" && textAt(strings.TrimPrefix(string(data), "\uFEFF"), o) == "" {
						t.Fatalf("%s comes from nowhere: %+v", ptr, o)
					}
				}
				plan.Model()
			}
		}
	})
}
