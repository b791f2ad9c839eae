package migrations

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"github.com/ottoci/otto/transitions"
)

// oldestServer is the oldest major version of Postgres Otto runs on.
const oldestServer = 15

var (
	// ErrNewer refuses a schema that a newer Otto has made; Otto never downgrades.
	ErrNewer = errors.New("the database's schema is newer than this otto")
	// ErrOldServer refuses a Postgres older than 15.
	ErrOldServer = errors.New("the Postgres server is too old")
)

// State says how a database's schema stands to this binary.
type State string

const (
	Current State = "current" // nothing to do
	Behind  State = "behind"  // Up would change it; an empty database is behind
	Newer   State = "newer"   // a newer Otto made it; this one must not touch it
)

// Status is the schema's version beside the one this binary knows.
type Status struct {
	State            State
	Database, Binary int64
}

// Check says how the database's schema stands to this binary. It changes nothing.
func Check(ctx context.Context, databaseURL string) (Status, error) {
	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return Status{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	seen, err := look(ctx, conn)
	if err != nil && !errors.Is(err, ErrNewer) {
		return Status{}, err
	}
	return seen.Status, nil
}

// connect opens one connection and refuses an old server.
func connect(ctx context.Context, databaseURL string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	if err := checkServer(conn.PgConn().ParameterStatus("server_version")); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// checkServer refuses a server_version like "14.9 (Debian 14.9-1)".
func checkServer(version string) error {
	digits, _, _ := strings.Cut(strings.Fields(version + " ?")[0], ".")
	// "16beta1" has no dot.
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	if major, err := strconv.Atoi(digits); err != nil || major < oldestServer {
		return fmt.Errorf("%w: it is version %s, otto needs %d or newer", ErrOldServer, version, oldestServer)
	}
	return nil
}

// sight is Status and what else decides whether Up has work.
type sight struct {
	Status
	member bool // the login may take both roles
}

func (s sight) ready() bool { return s.State == Current && s.member }

// look reads the schema's state in one round trip: this is all a start on a current database costs.
func look(ctx context.Context, conn *pgx.Conn) (sight, error) {
	seen := sight{Status: Status{State: Behind, Binary: latest()}}
	var fingerprint string
	err := conn.QueryRow(ctx, `
		select (select coalesce(max(version_id), 0) from public.`+versionTable+` where is_applied),
		       coalesce((select value from public.otto_meta where key = 'fingerprint'), ''),
		       coalesce(pg_has_role(to_regrole($1), $3) and pg_has_role(to_regrole($2), $3), false)`,
		Owner, App, membership(conn)).Scan(&seen.Database, &fingerprint, &seen.member)
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == undefinedTable:
		return seen, nil // never migrated, or not beyond the first step
	case err != nil:
		return seen, fmt.Errorf("read the schema's version: %w", err)
	case seen.Database > seen.Binary:
		seen.State = Newer
		return seen, fmt.Errorf("%w: it is at version %d, this binary knows %d: install the otto that made it, or a newer one",
			ErrNewer, seen.Database, seen.Binary)
	case fingerprint == Fingerprint():
		seen.State = Current
	}
	return seen, nil
}

// latest is the highest version of the chain.
func latest() int64 {
	var highest int64
	for version := range riverTargets() {
		highest = max(highest, version)
	}
	names, _ := fs.Glob(FS, "*.sql") // the pattern is well formed
	for _, name := range names {
		if version, err := goose.NumericComponent(name); err == nil {
			highest = max(highest, version)
		}
	}
	return highest
}

// Fingerprint names everything the schema is made from. It is stored with the schema; equal means nothing to do.
func Fingerprint() string {
	hash := sha256.New()
	for _, files := range []fs.FS{FS, transitions.FS} {
		names, _ := fs.Glob(files, "*.sql")
		for _, name := range names {
			content, _ := fs.ReadFile(files, name) // embedded: it is there
			fmt.Fprintf(hash, "%s %d\n%s", name, len(content), content)
		}
	}
	fmt.Fprint(hash, riverTargets(), prepareSQL, emptySQL, grantSQL)
	return hex.EncodeToString(hash.Sum(nil))
}
