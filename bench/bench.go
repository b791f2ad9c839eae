// Package bench tells how fast Otto is, and how fast it could be.
//
// It starts a durable Postgres of its own, measures what bare SQL can commit there, and beside that, in turns, what real
// otto processes do through the public API and the agent protocol. So a ratio holds on a machine that is busy otherwise,
// where an absolute figure does not. It knows nothing of the server's inside.
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Config says what is measured, and on what.
type Config struct {
	Otto  string       // path of the otto program
	Dir   string       // scratch: holds the database and the agents' work; the caller removes it
	PgBin string       // folder of Postgres' programs; found if empty
	Only  []string     // names of sections; all if empty
	Quick bool         // about a minute: fewer rounds, smaller sizes
	Seed  uint64       // of everything that is random
	Log   *slog.Logger // slog.Default() if nil

	size      *size  // of tests
	lax       bool   // of tests: not durable
	initCache string // of tests: see local.Config
}

// section is a part of the benchmark that can be asked for by name.
type section struct {
	name, title string
	run         func(*session, context.Context) error
}

// sections are all there are, in the order in which they run.
func sections() []section {
	return []section{
		{"ceiling", "what bare SQL can commit", (*session).ceiling},
		{"throughput", "tasks per second", (*session).throughput},
		{"latency", "from cause to effect", (*session).latency},
		{"logs", "a step's output", (*session).logs},
		{"fleet", "idle agents", (*session).fleet},
		{"growth", "cost per task as history grows", (*session).growth},
		{"planning", "Ottofile to plan, in process", (*session).planning},
	}
}

// Sections are the names that Config.Only takes, in the order in which they run.
func Sections() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// session is one benchmark at work.
type session struct {
	cfg    Config
	size   size
	log    *slog.Logger
	random *rand.Rand
	pg     *postgres
	floor  *floor // bare SQL, the ceiling of everything else
	report *Report
}

// Run measures, and answers what came out. What has been measured before an error is in the report all the same.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	began := time.Now()
	s := &session{cfg: cfg, size: fullSize(), log: cfg.Log, random: randomOf(cfg.Seed), report: newReport(cfg, began)}
	switch {
	case cfg.size != nil:
		s.size = *cfg.size
	case cfg.Quick:
		s.size = quickSize()
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	err := s.measure(ctx)
	s.report.conclude(time.Since(began))
	return s.report, err
}

func randomOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func (c *Config) check() error {
	for _, name := range c.Only {
		if !slices.Contains(Sections(), name) {
			return fmt.Errorf("there is no section %q: they are %s", name, strings.Join(Sections(), ", "))
		}
	}
	return nil
}

// measure brings up the database and runs the sections.
func (s *session) measure(ctx context.Context) (err error) {
	if s.pg, err = startPostgres(ctx, s.cfg, s.log); err != nil {
		return err
	}
	defer s.pg.stop()
	s.report.Machine.Postgres = s.pg.version
	if s.floor, err = s.pg.newFloor(ctx); err != nil {
		return err
	}
	defer s.floor.pool.Close()
	for _, part := range sections() {
		if len(s.cfg.Only) > 0 && !slices.Contains(s.cfg.Only, part.name) {
			continue
		}
		began := time.Now()
		s.log.InfoContext(ctx, "section began", "section", part.name)
		err := part.run(s, ctx)
		s.report.Sections = append(s.report.Sections, Section{part.name, tenths(time.Since(began))})
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		s.log.InfoContext(ctx, "section ended", "section", part.name, "seconds", s.report.took(part.name))
	}
	return nil
}
