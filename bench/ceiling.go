package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
)

// chunkCell is the least time for a rate of chunks: there are only dozens in a second.
const chunkCell = 300 * time.Millisecond

// ceiling measures what the machine can do without Otto.
func (s *session) ceiling(ctx context.Context) error {
	for _, shell := range []bool{false, true} {
		for _, workers := range []int{1, 8, 32} {
			for _, batch := range []int{1, 10, 50} {
				l := load{workers, batch, shell}
				rate, err := s.floor.rate(ctx, l, s.size.cell)
				if err != nil {
					return fmt.Errorf("%s: %w", l, err)
				}
				s.report.add("ceiling", l.String(), "tasks/s", samples{rate})
			}
		}
	}
	for _, workers := range []int{1, 8} {
		rate, err := perSecond(ctx, workers, s.size.cell, func(ctx context.Context) (int, error) { return 1, spawn(ctx) })
		if err != nil {
			return err
		}
		s.report.add("ceiling", fmt.Sprintf("sh -c true alone, %d at once", workers), "/s", samples{rate})
	}
	return s.ceilingChunks(ctx)
}

// ceilingChunks measures how fast logs could flow into Postgres.
func (s *session) ceilingChunks(ctx context.Context) error {
	for _, workers := range []int{1, 4} {
		rate, err := s.chunkRate(ctx, workers)
		if err != nil {
			return err
		}
		s.report.add("ceiling", fmt.Sprintf("compressed chunks of 1 MiB, %d at once", workers), "MB/s raw", samples{rate})
	}
	return nil
}

// chunkRate is how much log, in MB/s raw, workers can compress by the MiB and insert.
func (s *session) chunkRate(ctx context.Context, workers int) (float64, error) {
	const chunk = 1 << 20
	text := logText(s.random, chunk)
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(workers))
	if err != nil {
		return 0, err
	}
	if _, err := s.floor.pool.Exec(ctx, "truncate chunks"); err != nil {
		return 0, err
	}
	rate, err := perSecond(ctx, workers, max(s.size.cell, chunkCell), func(ctx context.Context) (int, error) {
		_, err := s.floor.pool.Exec(ctx, "insert into chunks (data) values ($1)", zip.EncodeAll(text, nil))
		return len(text), err
	})
	return rate / 1e6, err
}
