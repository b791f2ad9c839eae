package db

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Refusal is a transition's no. Its text names the thing, its state and what was refused.
type Refusal struct {
	Code    string // NotFound, Forbidden or Conflict
	Message string
	// Fenced means that a report came from a holder that has lost its lease: it must kill its work.
	Fenced bool
}

// The codes of refusals, as SQLSTATE.
const (
	NotFound  = "OT404"
	Forbidden = "OT403"
	Conflict  = "OT409"
)

func (r *Refusal) Error() string { return r.Message }

// AsRefusal finds the refusal in an error. A read that found no row is NotFound.
func AsRefusal(err error) (*Refusal, bool) {
	if errors.Is(err, pgx.ErrNoRows) {
		return &Refusal{Code: NotFound, Message: "it does not exist"}, true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || (pg.Code != NotFound && pg.Code != Forbidden && pg.Code != Conflict) {
		return nil, false
	}
	return &Refusal{Code: pg.Code, Message: pg.Message, Fenced: pg.Hint == "fenced"}, true
}

// Unavailable says whether an error means that the database cannot be used now: unreachable, starting, stopping, out of
// room, or too busy to answer in time. The caller may try again later.
func Unavailable(err error) bool {
	if pgconn.Timeout(err) {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pgconn.SafeToRetry(err)
	}
	switch pg.Code[:2] {
	case "08", "53", "57", "58": // connection, resources, operator, system
		return true
	}
	// 42804: a migration gave a table a column while a function that answers its rows waited for that. Again it will do.
	return pg.Code == "55P03" || pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "25006" || pg.Code == "42804"
}

// OutOfSpace says whether the database has no room left on its disk.
func OutOfSpace(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "53100"
}
