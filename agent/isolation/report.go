package isolation

// Report is what a machine can do, found out by trying.
type Report struct {
	Best   Level     `json:"best"` // the highest that holds
	Levels []Finding `json:"levels"`
	Limits []Bound   `json:"limits"`
}

// Finding is what became of trying to escape from a level.
type Finding struct {
	Level   string `json:"level"`
	Holds   bool   `json:"holds"`
	Keeps   string `json:"keeps"`             // what the level keeps back
	Missing string `json:"missing,omitempty"` // why it does not hold
	Remedy  string `json:"remedy,omitempty"`  // what to do about that
}

// Bound is how a machine bounds one thing.
type Bound struct {
	Name      string `json:"name"`
	Mechanism string `json:"mechanism"`
}

// Holds says whether a level is among those that hold.
func (r Report) Holds(level Level) bool {
	return int(level) < len(r.Levels) && r.Levels[level].Holds
}

// Least is the lowest level that holds and is not below the one that is asked for.
func (r Report) Least(asked Level) (Level, bool) {
	for level := max(asked, S0); int(level) < len(r.Levels); level++ {
		if r.Levels[level].Holds {
			return level, true
		}
	}
	return S0, false
}
