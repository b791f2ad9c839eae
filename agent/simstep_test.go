package agent

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// simStep is a step that runs in virtual time, in the place of its keeper.
type simStep struct {
	sim     *sim
	node    *simNode
	agent   *Agent // of the node, in this life
	attempt *simAttempt
	index   int
	luck    *dice
	orders  chan order
	killed  chan struct{}
	killing sync.Once
	dead    <-chan struct{} // closed when the agent's program is killed
	began   time.Time
	stuck   bool // its keeper hears nothing
	ended   bool
	ending  ending
	err     error
}

// simTemper is how a step takes an order to stop.
type simTemper int

const (
	simMeek  simTemper = iota
	simDeafT           // ends by SIGKILL only
	simStuck           // its keeper hears nothing, and is killed
)

func (x *simStep) order(_ *process, o order) {
	select {
	case x.orders <- o:
	default:
	}
}

func (x *simStep) kill(*process) { x.killing.Do(func() { close(x.killed) }) }

// launch starts a simulated step. Which one says the environment that the agent made for it.
func (n *simNode) launch(a *Agent, dead <-chan struct{}) func(context.Context, job, sink) (*process, error) {
	return func(ctx context.Context, job job, to sink) (*process, error) {
		env := map[string]string{}
		for _, entry := range job.Env {
			name, value, _ := strings.Cut(entry, "=")
			env[name] = value
		}
		task, attempt, index := number(env["OTTO_TASK_ID"]), number(env["OTTO_ATTEMPT"]), number(env["OTTO_STEP"])
		x := &simStep{
			sim: n.sim, node: n, agent: a, index: index, orders: make(chan order, 8), killed: make(chan struct{}), dead: dead, began: time.Now(),
			luck: n.sim.luck("step", uint64(task), uint64(attempt), uint64(index)),
		}
		x.attempt = n.sim.judgeBegin(x, int64(task), attempt)
		p := &process{keeper: x, ended: make(chan struct{})}
		flow, release := context.WithCancel(ctx)
		p.release = release
		pieces := make(chan []byte, 1) // the pipe
		var copying sync.WaitGroup
		copying.Go(func() {
			for b := range pieces {
				x.sim.wrote(x.attempt, b)
				to(flow, client.SegmentStdout, b)
			}
		})
		n.sim.group.Go(func() {
			defer close(p.ended)
			defer copying.Wait()
			defer p.release()
			defer close(pieces)
			x.ending, x.err = x.run(pieces)
			p.ending, p.err = x.ending, x.err
			x.sim.judgeEnd(x)
		})
		return p, nil
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// run goes through the step's life.
func (x *simStep) run(pieces chan<- []byte) (ending, error) {
	length := x.between(50*time.Millisecond, 20*time.Second)
	if x.luck.IntN(4) == 0 {
		length = x.between(20*time.Second, 4*time.Minute)
	}
	code := []int{0, 0, 0, 0, 0, 0, 0, 1, 3, 77}[x.luck.IntN(10)]
	temper := []simTemper{simMeek, simMeek, simMeek, simMeek, simDeafT, simDeafT, simStuck}[x.luck.IntN(7)]
	x.sim.mu.Lock()
	x.stuck = temper == simStuck
	x.sim.mu.Unlock()
	pace := length/time.Duration(1+x.luck.IntN(12)) + time.Millisecond
	end, write := time.NewTimer(length), time.NewTimer(x.between(0, pace))
	defer end.Stop()
	defer write.Stop()
	var pipe chan<- []byte // nil while nothing is to be written
	var piece []byte
	ordered := false
	for count := 0; ; {
		select {
		case <-x.dead:
			return ending{Signal: 9}, nil
		case <-x.killed:
			return ending{}, errKeeperKilled
		case <-end.C:
			if ordered {
				return ending{Signal: 15, Ordered: true}, nil
			}
			return ending{Code: code}, nil
		case <-write.C:
			count++
			pipe, piece = pieces, x.piece(count)
		case pipe <- piece:
			pipe = nil
			write.Reset(x.between(0, 2*pace))
		case o := <-x.orders:
			switch {
			case temper == simStuck:
			case o.Kill:
				return ending{Signal: 9, Ordered: true}, nil
			case temper == simMeek:
				ordered = true
				end.Reset(x.between(0, 3*time.Second))
			default:
				ordered = true
				end.Reset(milliseconds(o.StopMS))
			}
		}
	}
}

func (x *simStep) between(least, most time.Duration) time.Duration {
	return least + time.Duration(x.luck.Int64N(int64(most-least)+1))
}

// piece is some output: mostly little, sometimes more than a chunk.
func (x *simStep) piece(n int) []byte {
	line := fmt.Sprintf("task %d attempt %d step %d piece %d %x\n", x.attempt.task, x.attempt.number, x.index, n, x.luck.Uint64())
	times := 1 + x.luck.IntN(8)
	if x.luck.IntN(40) == 0 {
		times = 4000
	}
	return []byte(strings.Repeat(line, times))
}
