package bench

import "time"

// size is how much is measured. It changes how sure a figure is, and how long it takes; never what it means.
type size struct {
	cell    time.Duration // one cell of the ceiling's table
	rounds  int           // turns of ceiling and otto
	round   time.Duration // about one turn
	runs    int           // at least, in a turn
	warm    int           // tasks before the first turn
	samples int           // of a latency, at most
	patient patience      // for the samples of one latency
	logMB   int           // MiB of the large log
	viewers int           // of one log
	fleets  []int         // idle agents
	idle    time.Duration // for which an idle fleet is watched
	history []int         // finished runs in the database
	backlog int           // waiting tasks
	cost    int           // tasks over which a cost is averaged
	costs   int           // turns of databases whose costs are compared: counts hardly differ between turns
	plans   []int         // tasks of a plan
}

// patience is how long samples of one latency are taken, unless there are enough before.
type patience struct {
	idle  time.Duration
	busy  time.Duration // under load, where each sample takes longer and there are bars
	extra time.Duration // under more of it, and for what has no bar
}

func fullSize() size {
	return size{
		cell: 700 * time.Millisecond, rounds: 5, round: 1500 * time.Millisecond, runs: 8, warm: 300,
		samples: 1000, patient: patience{30 * time.Second, 15 * time.Second, 8 * time.Second},
		logMB: 1024, viewers: 200,
		fleets: []int{100, 1000, 5000}, idle: 10 * time.Second,
		history: []int{0, 100_000, 1_000_000}, backlog: 100_000, cost: 400, costs: 3,
		plans: []int{1000, 10_000},
	}
}

func quickSize() size {
	return size{
		cell: 100 * time.Millisecond, rounds: 3, round: 600 * time.Millisecond, runs: 4, warm: 100,
		samples: 200, patient: patience{1500 * time.Millisecond, time.Second, 500 * time.Millisecond},
		logMB: 64, viewers: 50,
		fleets: []int{100, 1000}, idle: 3 * time.Second,
		history: []int{0, 10_000}, backlog: 5000, cost: 100, costs: 2,
		plans: []int{1000, 10_000},
	}
}
