package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func sampleReport() *Report {
	r := &Report{Seed: 7, Machine: Machine{Cores: 2, OS: "linux/amd64", Go: "go1", Postgres: "17", Load: "0 0 0"}}
	own, ceiling := samples{300, 500, 400}, samples{1000, 1000, 1000}
	r.add("throughput", figOneTask, "tasks/s", own).beside(own, ceiling)
	slow := make(samples, 0, 100)
	for i := range 100 {
		slow = append(slow, float64(i+1))
	}
	r.add("latency", figFirst+idle, "ms", slow)
	r.Statements = []Statement{{Calls: 1, MS: 2.5, Top: true, Query: "select\n  1"}}
	r.Sections = []Section{{"throughput", 30.5}, {"latency", 59.4}}
	r.conclude(90 * time.Second)
	return r
}

const rendered = `otto bench, full, seed 7: linux/amd64, 2 cores, go1, Postgres 17, load 0 0 0, took 90 s

throughput: tasks per second (took 30 s)
  one-task runs, no-op agents  400 tasks/s  300 – 500 (3)  ceiling 1,000  ratio 0.40

latency: from cause to effect (took 59 s)
  submit → first instruction, idle  50.5 ms  p99 99.0, max 100 (100)

where a task's time in Postgres goes (* sent by Otto, the others inside of functions; times contain what is called)
  ms/task  plan ms  calls/task  rows/task  pages/task
  2.500    0.000    1.00        0.00       0.0         * select 1

verdicts
                                         measured  bar     stretch  verdict
  one-task runs ÷ ceiling                0.40      ≥ 0.35  ≥ 0.70   passes
  submit → first instruction, idle, p50  50.5 ms   ≤ 12.0  ≤ 5      falls short
  submit → first instruction, idle, p99  99.0 ms   ≤ 40.0  ≤ 15.0   falls short
`

func TestWrite(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := sampleReport().Write(&out); err != nil {
		t.Fatal(err)
	}
	if out.String() != rendered {
		t.Errorf("got\n%s\nwant\n%s", &out, rendered)
	}
}

// Another program can read what is printed.
func TestJSON(t *testing.T) {
	t.Parallel()
	body, err := json.Marshal(sampleReport())
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if f := back.find("throughput", figOneTask); f == nil || f.Ratio != 0.4 {
		t.Errorf("the figure read back is %+v", f)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		verdict Verdict
		want    string
	}{
		{"more_is_better", Verdict{Value: 0.8, Bar: 0.35, Stretch: 0.7, AtLeast: true}, wordStretch},
		{"on_the_bar", Verdict{Value: 0.35, Bar: 0.35, Stretch: 0.7, AtLeast: true}, wordBar},
		{"below_the_bar", Verdict{Value: 0.34, Bar: 0.35, Stretch: 0.7, AtLeast: true}, wordShort},
		{"less_is_better", Verdict{Value: 4, Bar: 12, Stretch: 5}, wordStretch},
		{"above_the_bar", Verdict{Value: 13, Bar: 12, Stretch: 5}, wordShort},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := c.verdict.word(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	for _, v := range judge(&Report{}) {
		if v.Verdict != wordUnmeasured {
			t.Errorf("%s: %s without a figure", v.Name, v.Verdict)
		}
	}
}
