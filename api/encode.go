package api

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// This file turns rows into wire types.

func encodeRun(r db.Run, project, name string) client.Run {
	return client.Run{
		Run: r.ID, ID: r.Uuid.String(), Project: project, Name: name,
		State: r.State, Reason: text(r.Reason), Warnings: r.Warnings,
		Source: text(r.SourceDigest), Repository: text(r.Repository), Ref: text(r.Ref), Commit: text(r.CommitSha), Plan: text(r.PlanDigest), RerunOf: number(r.RerunOf), Priority: int(r.Priority),
		CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(), StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt),
		Diagnostics: decodeTo[[]client.Diagnostic](r.Diagnostics),
	}
}

func encodeStage(s db.Stage) client.Stage {
	return client.Stage{
		Name: s.Name, Mode: s.Mode, Always: s.Always, State: s.State, Warnings: s.Warnings,
		StartedAt: utc(s.StartedAt), FinishedAt: utc(s.FinishedAt), Tasks: []client.Task{},
	}
}

func encodeTask(r db.TaskByIDRow) client.Task {
	t := r.Task
	return client.Task{
		Task: t.ID, Run: t.RunID, Stage: r.Stage, Name: t.Name, State: t.State, Reason: text(t.Reason), WaitingFor: r.WaitingFor,
		Attempt: int(t.Epoch), Agent: r.Agent, Isolation: r.Isolation, Warm: r.Warm, Requires: decodeTo[map[string]any](t.Requires), ExitCode: exitCode(t.ExitCode),
		AllowFailure: t.AllowFailure, ReadyAt: utc(t.ReadyAt), StartedAt: utc(t.StartedAt), FinishedAt: utc(t.FinishedAt),
	}
}

func encodeStep(s db.Step) client.Step {
	return client.Step{
		Index: int(s.Index), Name: s.Name, State: s.State, Reason: text(s.Reason), ExitCode: exitCode(s.ExitCode),
		DurationMS: number(s.DurationMs), StartedAt: utc(s.StartedAt), FinishedAt: utc(s.FinishedAt),
	}
}

func encodeAttempt(r db.AttemptsOfTaskRow) client.Attempt {
	l := r.Lease
	return client.Attempt{
		Lease: l.ID.String(), Attempt: int(l.Epoch), Agent: r.Agent, Warm: l.Warm != nil && *l.Warm, EndReason: text(l.EndReason), Isolation: isolation(l.Isolation), ExitCode: exitCode(l.ExitCode),
		GrantedAt: l.GrantedAt.UTC(), StartedAt: utc(l.StartedAt), EndedAt: utc(l.EndedAt),
		LogBytes: l.LogBytes, LogLines: l.LogLines, LogComplete: l.LogDoneAt != nil, Steps: []client.Step{},
	}
}

// isolation names a level.
func isolation(level *int16) string {
	if level == nil {
		return ""
	}
	return fmt.Sprintf("S%d", *level)
}

func encodeAgent(a db.Agent, busy int32) client.Agent {
	return client.Agent{
		Agent: a.ID, Name: a.Name, State: a.State, Version: a.Version, Pool: a.Pool, Capacity: int(a.Capacity), Busy: int(busy),
		Offers: decodeTo[map[string]any](a.Offers), SeenAt: a.SeenAt.UTC(), Enrolled: a.EnrolledAt.UTC(),
	}
}

func encodeLeaseInfo(r db.LeasesActiveRow) client.LeaseInfo {
	l := r.Lease
	return client.LeaseInfo{
		Lease: l.ID.String(), Run: l.RunID, Task: l.TaskID, Name: r.Name, Attempt: int(l.Epoch), Agent: r.Agent, Isolation: isolation(l.Isolation),
		GrantedAt: l.GrantedAt.UTC(), StartedAt: utc(l.StartedAt), ExpiresAt: l.ExpiresAt.UTC(), AbortAt: utc(l.AbortAt),
	}
}

func encodeToken(t db.Token) client.Token {
	return client.Token{
		Token: t.ID, Kind: t.Kind, Name: t.Name, Role: t.Role, Pool: text(t.Pool), CreatedAt: t.CreatedAt.UTC(),
		ExpiresAt: utc(t.ExpiresAt), RevokedAt: utc(t.RevokedAt), LastUsedAt: utc(t.LastUsedAt),
	}
}

func encodeSource(s db.Source) client.Source {
	return client.Source{Digest: s.Digest, Bytes: s.Bytes, CreatedAt: s.CreatedAt.UTC()}
}

func encodeState(lease uuid.UUID, t db.Task) client.LeaseState {
	return client.LeaseState{ID: lease.String(), Task: t.ID, State: t.State}
}

// decodeTo reads a JSON column. What the database holds was checked on its way in; a value that is not a T shows as
// nothing rather than hiding the row that it is in.
func decodeTo[T any](raw json.RawMessage) T {
	var v T
	if len(raw) > 0 {
		_ = json.Unmarshal(raw, &v)
	}
	return v
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

func exitCode(n *int32) *int {
	if n == nil {
		return nil
	}
	code := int(*n)
	return &code
}

// narrow makes a number that the database can take of any; what is out of range cannot be right, and stays wrong.
func narrow(n int) int32 { return int32(min(max(n, math.MinInt32), math.MaxInt32)) }

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// optional is nil for an absent value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
