package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/transitions/replay"
)

// judgeEvents replays every run's events: they must come to what the rows say.
func judgeEvents(ctx context.Context, f *fleet, r *report) error {
	rows, err := f.pg.admin.Query(ctx, "select id from runs order by id")
	if err != nil {
		return err
	}
	runs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for _, run := range runs {
		different, err := replay.Difference(ctx, f.pg.admin, run)
		if err != nil {
			return err
		}
		for line := range strings.Lines(different) {
			r.broken("events tell everything", fmt.Sprintf("run %d: %s", run, strings.TrimSpace(line)))
		}
	}
	return nil
}

// written is an attempt's log as the server and the agent know it.
type written struct {
	task    int64
	attempt int
	bytes   int64  // that the server acknowledged
	total   int64  // that the agent said
	sum     string // SHA-256 that the agent said; empty if it said nothing
}

// judgeLogs reads every log through the API. It has what was acknowledged, and, where its agent lived to say what the
// whole is, exactly that.
func judgeLogs(ctx context.Context, f *fleet, r *report) error {
	rows, err := f.pg.admin.Query(ctx, "select task_id, epoch, log_bytes, coalesce(log_total, -1), coalesce(log_sha256, '') from leases where ended_at is not null")
	if err != nil {
		return err
	}
	logs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (w written, err error) {
		return w, row.Scan(&w.task, &w.attempt, &w.bytes, &w.total, &w.sum)
	})
	if err != nil {
		return err
	}
	for _, w := range logs {
		var leaked leak
		n, sum, err := readLog(ctx, f, w, &leaked)
		if leaked.found {
			r.broken("no secret is in a log", fmt.Sprintf("task %d attempt %d printed a token", w.task, w.attempt))
		}
		switch {
		case err != nil:
			r.broken("logs can be read", fmt.Sprintf("task %d attempt %d: %v", w.task, w.attempt, err))
		case n != w.bytes:
			r.broken("logs are exact", fmt.Sprintf("task %d attempt %d: %d bytes were acknowledged, %d are there", w.task, w.attempt, w.bytes, n))
		case w.total == n && w.sum != "" && w.sum != sum:
			r.broken("logs are exact", fmt.Sprintf("task %d attempt %d: %d bytes, but not those that the agent sent", w.task, w.attempt, n))
		}
		r.Counts.LogBytes += int(n)
		if w.total > w.bytes {
			r.Counts.Truncated++
		}
	}
	return nil
}

// readLog gives the length and the SHA-256 of a log. It waits when the API finds that we read too fast.
func readLog(ctx context.Context, f *fleet, w written, also io.Writer) (n int64, sum string, err error) {
	err = until(ctx, "the log is read", func() (bool, error) {
		var status int
		n, sum, status, err = readLogOnce(ctx, f, w, also)
		return status != http.StatusTooManyRequests, err
	})
	return n, sum, err
}

func readLogOnce(ctx context.Context, f *fleet, w written, also io.Writer) (int64, string, int, error) {
	url := fmt.Sprintf("%s/v1/tasks/%d/log?attempt=%d", f.doors["users"].url, w.task, w.attempt)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", 0, err
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		return 0, "", resp.StatusCode, nil
	default:
		return 0, "", resp.StatusCode, fmt.Errorf("the API answers %s", resp.Status)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(sum, also), resp.Body)
	return n, hex.EncodeToString(sum.Sum(nil)), resp.StatusCode, err
}
