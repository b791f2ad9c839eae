package bench

import (
	"math"
	"os"
	"runtime"
	"strings"
	"time"
)

// Report is everything that a run of the benchmark found.
type Report struct {
	Started    time.Time   `json:"started"`
	Seconds    float64     `json:"seconds"` // that the whole took
	Seed       uint64      `json:"seed"`
	Quick      bool        `json:"quick"`
	Machine    Machine     `json:"machine"`
	Sections   []Section   `json:"sections"`
	Figures    []Figure    `json:"figures"`
	Statements []Statement `json:"statements,omitempty"`
	Verdicts   []Verdict   `json:"verdicts"`
}

// Machine is where it ran.
type Machine struct {
	Cores    int    `json:"cores"`
	OS       string `json:"os"`
	Go       string `json:"go"`
	Postgres string `json:"postgres"`
	Load     string `json:"load"` // average of the machine when it began, over 1, 5 and 15 minutes
}

// Section is a part of the benchmark that was measured.
type Section struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"` // that it took
}

// Figure is one thing that was measured, several times.
type Figure struct {
	Section string  `json:"section"`
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Value   float64 `json:"value"` // the median
	Min     float64 `json:"min"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
	N       int     `json:"n"` // rounds or samples
	// Ceiling is the median of what bounds the figure, measured in turns with it, in the same unit; Ratio the median of
	// the turns' quotients. 0 where there is none.
	Ceiling float64 `json:"ceiling,omitempty"`
	Ratio   float64 `json:"ratio,omitempty"`
}

// Statement is one kind of SQL statement in what a task costs, those inside of functions too.
type Statement struct {
	Calls float64 `json:"calls_per_task"`
	MS    float64 `json:"ms_per_task"` // of execution, with what it calls
	Plan  float64 `json:"plan_ms_per_task"`
	Rows  float64 `json:"rows_per_task"`
	Pages float64 `json:"pages_per_task"` // of 8 KiB that it touches in the buffers, with what it calls
	Top   bool    `json:"top"`            // sent by a process of Otto, not by a function
	Query string  `json:"query"`
}

func newReport(cfg Config, began time.Time) *Report {
	load, _ := os.ReadFile("/proc/loadavg") // only Linux has it
	words := append(strings.Fields(string(load)), "?", "?", "?")
	return &Report{
		Started: began.UTC().Truncate(time.Second), Seed: cfg.Seed, Quick: cfg.Quick,
		Machine: Machine{Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Load: strings.Join(words[:3], " ")},
	}
}

// add notes a figure from its samples. Without any there is no figure.
func (r *Report) add(section, name, unit string, s samples) *Figure {
	if len(s) == 0 {
		return &Figure{}
	}
	r.Figures = append(r.Figures, Figure{
		Section: section, Name: name, Unit: unit, Value: s.median(),
		Min: s.quantile(0), P99: s.quantile(0.99), Max: s.quantile(1), N: len(s),
	})
	return &r.Figures[len(r.Figures)-1]
}

// beside puts what was measured in turns with the figure next to it.
func (f *Figure) beside(own, ceiling samples) {
	f.Ceiling, f.Ratio = ceiling.median(), own.over(ceiling).median()
}

// find is the figure of that name; nil if it was not measured.
func (r *Report) find(section, name string) *Figure {
	for i := range r.Figures {
		if f := &r.Figures[i]; f.Section == section && f.Name == name && !math.IsNaN(f.Value) {
			return f
		}
	}
	return nil
}

func (r *Report) conclude(took time.Duration) {
	r.Seconds = tenths(took)
	r.Verdicts = judge(r)
}

// took is how long a section took; zero if it was not measured.
func (r *Report) took(name string) float64 {
	for _, s := range r.Sections {
		if s.Name == name {
			return s.Seconds
		}
	}
	return 0
}

func tenths(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }
