package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// load is the users: they submit runs, abort them and their tasks, repeat them, and read.
type load struct {
	f    *fleet
	seed uint64

	mu       sync.Mutex
	known    []int64          // runs that were acknowledged
	acked    map[int64]string // run → its project
	reruns   map[int64]int    // run → how often its repetition was asked for
	repeated map[int64]int64  // acknowledged repetition → of which run
	aborted  int              // acknowledged aborts
	invalid  error            // an Ottofile of ours was refused: a mistake of the harness
}

const (
	busy       = 14 // runs at once: enough to keep the agents at work
	userPause  = 400 * time.Millisecond
	userWaits  = 20 * time.Second // one request, with its repeats
	loadAtOnce = 8
	projects   = 3 // few, so that runs meet in their groups
)

func newLoad(f *fleet, seed uint64) *load {
	return &load{f: f, seed: seed, acked: map[int64]string{}, reruns: map[int64]int{}, repeated: map[int64]int64{}}
}

// run goes on until ctx ends, and waits for what is under way: whoever was promised something must have heard it.
func (l *load) run(ctx context.Context) {
	r := rand.New(rand.NewPCG(l.seed, 1))
	var users sync.WaitGroup
	defer users.Wait()
	slots := make(chan struct{}, loadAtOnce)
	for n := uint64(0); ctx.Err() == nil; n++ {
		act, choice := l.submit, r.IntN(20)
		switch {
		case choice < 3:
			act = l.abortRun
		case choice < 5:
			act = l.abortTask
		case choice < 7:
			act = l.rerun
		case choice < 10:
			act = l.read
		}
		own := rand.New(rand.NewPCG(l.seed, 1000+n)) // so that an act does not depend on how others interleave
		slots <- struct{}{}
		users.Go(func() {
			defer func() { <-slots }()
			one, cancel := context.WithTimeout(context.WithoutCancel(ctx), userWaits)
			defer cancel()
			act(one, own, n)
		})
		wait(ctx, time.Duration(r.Int64N(int64(2*userPause))))
	}
}

// submit starts a run. No two submissions have the same Ottofile; so a second run of one would show.
func (l *load) submit(ctx context.Context, r *rand.Rand, n uint64) {
	if live, err := l.f.number(ctx, "select count(*) from runs where finished_at is null"); err != nil || live >= busy {
		return
	}
	text := newOttofile(r, n, map[string]string{"CHAOS_EXECUTIONS": l.f.executions(), "CHAOS_MARK": l.f.mark})
	create := client.RunCreate{Project: fmt.Sprint("chaos-", n%projects)}
	if r.IntN(4) == 0 {
		bundle := pack(text)
		sum := sha256.Sum256(bundle)
		create.Source = "sha256:" + hex.EncodeToString(sum[:])
		if _, err := l.f.admin.SourceUpload(ctx, create.Source, bytes.NewReader(bundle), int64(len(bundle))); err != nil {
			return
		}
	} else {
		plan, err := l.f.admin.PlanCreate(ctx, client.PlanCreate{Ottofile: text, File: "Ottofile.yaml"})
		if err != nil {
			l.refuse(err)
			return
		}
		create.Plan = plan.Digest
	}
	run, err := l.f.admin.RunCreate(ctx, create)
	if err != nil {
		return // perhaps it was created: nobody was promised that
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[run.Run] = create.Project
	l.known = append(l.known, run.Run)
}

// refuse notes an answer that says that the load itself is wrong.
func (l *load) refuse(err error) {
	if client.IsStatus(err, http.StatusUnprocessableEntity) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.invalid = err
	}
}

// pack makes a source bundle of one Ottofile.
func pack(text string) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	files := tar.NewWriter(zip)
	header := tar.Header{Name: "Ottofile.yaml", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}
	_ = files.WriteHeader(&header) // a buffer takes everything
	_, _ = io.WriteString(files, text)
	_ = files.Close()
	_ = zip.Close()
	return out.Bytes()
}

// some gives a run that is known; the young are likelier, for they are still at work.
func (l *load) some(r *rand.Rand) (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) == 0 {
		return 0, false
	}
	young := l.known[max(0, len(l.known)-busy):]
	return young[r.IntN(len(young))], true
}

func (l *load) abortRun(ctx context.Context, r *rand.Rand, _ uint64) {
	run, ok := l.some(r)
	if !ok {
		return
	}
	if _, err := l.f.admin.RunAbort(ctx, fmt.Sprint(run), client.RunAbort{Reason: "chaos"}); err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.aborted++
	}
}

func (l *load) abortTask(ctx context.Context, r *rand.Rand, _ uint64) {
	detail, ok := l.show(ctx, r)
	if !ok || len(detail.Stages) == 0 {
		return
	}
	t := pick(r, pick(r, detail.Stages...).Tasks...)
	_, _ = l.f.admin.TaskAbort(ctx, t.Task, client.RunAbort{Reason: "chaos"}) // a final task refuses
}

func (l *load) rerun(ctx context.Context, r *rand.Rand, _ uint64) {
	run, ok := l.some(r)
	if !ok {
		return
	}
	l.mu.Lock()
	l.reruns[run]++
	l.mu.Unlock()
	again, err := l.f.admin.RunRerun(ctx, fmt.Sprint(run))
	if err != nil {
		return // it still runs, or nobody knows
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.repeated[again.Run] = run
	l.known = append(l.known, again.Run)
}

func (l *load) read(ctx context.Context, r *rand.Rand, _ uint64) { l.show(ctx, r) }

func (l *load) show(ctx context.Context, r *rand.Rand) (client.RunDetail, bool) {
	run, ok := l.some(r)
	if !ok {
		return client.RunDetail{}, false
	}
	detail, err := l.f.admin.RunShow(ctx, fmt.Sprint(run))
	return detail, err == nil
}
