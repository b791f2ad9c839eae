package bench

// Verdict says whether a figure is what it should be.
type Verdict struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	Measured bool    `json:"measured"`
	Value    float64 `json:"value"`
	Bar      float64 `json:"bar"`
	Stretch  float64 `json:"stretch"`
	AtLeast  bool    `json:"at_least"` // more is better; else less is
	Verdict  string  `json:"verdict"`
}

// The words of a verdict.
const (
	wordStretch    = "reaches the stretch"
	wordBar        = "passes"
	wordShort      = "falls short"
	wordUnmeasured = "not measured"
)

// part picks the number of a figure that a rule is about.
type part func(*Figure) float64

func ratio(f *Figure) float64  { return f.Ratio }
func middle(f *Figure) float64 { return f.Value }
func p99(f *Figure) float64    { return f.P99 }

// rule is one line of what is promised.
type rule struct {
	name, section, figure string
	part                  part
	unit                  string
	bar, stretch          float64
}

// rules are the bars; where the stretch is above the bar, more is better.
func rules() []rule {
	return []rule{
		{"one-task runs ÷ ceiling", "throughput", figOneTask, ratio, "", 0.35, 0.7},
		{"100-task runs ÷ ceiling", "throughput", figHundred, ratio, "", 1, 2.8},
		{"one-task runs with a shell ÷ ceiling with a shell", "throughput", figShell, ratio, "", 0.35, 0.7},
		{"submit → first instruction, idle, p50", "latency", figFirst + idle, middle, "ms", 12, 5},
		{"submit → first instruction, idle, p99", "latency", figFirst + idle, p99, "ms", 40, 15},
		{"submit → first instruction, 30 % load, p99", "latency", figFirst + load30, p99, "ms", 150, 50},
		{"stage → next stage, idle, p50", "latency", figStage + idle, middle, "ms", 10, 4},
		{"cost per task, empty → largest history", "growth", figGrowth, middle, "%", 10, 1},
		{"cost per task, retention at rest → at work", "growth", figRetention, middle, "%", 10, 1},
		{"queries of 1,000 idle agents", "fleet", "queries, 1000 agents", middle, "/s", 5, 1},
		{"log, one stream", "logs", figLogRate, middle, "MB/s", 60, 130},
		{"log, bytes to Postgres per raw byte", "logs", figLogBytes, middle, "", 0.2, 0.1},
		{"log, step's end → complete", "logs", figLogLag, middle, "ms", 500, 250},
		{"log, server memory, reading included", "logs", figLogMemory, middle, "MiB", 64, 32},
	}
}

// judge holds the figures against the rules.
func judge(r *Report) []Verdict {
	var out []Verdict
	for _, rule := range rules() {
		v := Verdict{Name: rule.name, Unit: rule.unit, Bar: rule.bar, Stretch: rule.stretch, AtLeast: rule.stretch > rule.bar, Verdict: wordUnmeasured}
		if f := r.find(rule.section, rule.figure); f != nil {
			v.Measured, v.Value = true, rule.part(f)
			v.Verdict = v.word()
		}
		out = append(out, v)
	}
	return out
}

func (v Verdict) word() string {
	reaches := func(mark float64) bool {
		if v.AtLeast {
			return v.Value >= mark
		}
		return v.Value <= mark
	}
	switch {
	case reaches(v.Stretch):
		return wordStretch
	case reaches(v.Bar):
		return wordBar
	}
	return wordShort
}
