package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The two roles of every installation. Neither can log in; the login of the database URL takes them.
const (
	Owner = "otto_owner" // owns every table and function; migrations run as it
	App   = "otto_app"   // what servers and workers run as; cannot write state but through the transitions
)

// SQLSTATEs we tell apart.
const (
	undefinedTable   = "42P01"
	insufficient     = "42501"
	duplicateObject  = "42710"
	uniqueViolation  = "23505"
	internalError    = "XX000" // "tuple concurrently updated", for grants at the same moment
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01"
)

// prepareAttempts bounds how often processes that migrate other databases of the cluster may come first.
const prepareAttempts = 20

// prepareSQL lists the statements that roles and rights still lack, ready to run. $1 is the kind of membership that
// allows `set role`.
const prepareSQL = `
select statement from (values
    (1, to_regrole('otto_owner') is null,
        'create role otto_owner nologin'),
    (2, to_regrole('otto_app') is null,
        'create role otto_app nologin'),
    (3, not coalesce(pg_has_role(to_regrole('otto_owner'), $1), false),
        format('grant otto_owner to %I', current_user)),
    (4, not coalesce(pg_has_role(to_regrole('otto_app'), $1), false),
        format('grant otto_app to %I', current_user)),
    (5, not coalesce(has_database_privilege(to_regrole('otto_owner')::oid, current_database(), 'create'), false),
        format('grant create on database %I to otto_owner', current_database())),
    (6, not coalesce(has_schema_privilege(to_regrole('otto_owner')::oid, 'public', 'create')
                 and has_schema_privilege(to_regrole('otto_owner')::oid, 'public', 'usage'), false),
        'grant usage, create on schema public to otto_owner'),
    -- The default since Postgres 15. An older cluster's databases keep the right, and with it anybody could place a
    -- function in the search path of the transitions.
    (7, has_schema_privilege('public', 'public', 'create'),
        'revoke create on schema public from public')
) as step (n, lacking, statement)
where lacking order by n`

// membership is the privilege name that asks "may the login set role": Postgres 16 split it from mere membership.
func membership(conn *pgx.Conn) string {
	if version := conn.PgConn().ParameterStatus("server_version"); strings.HasPrefix(version, "15") {
		return "member"
	}
	return "set"
}

// prepare makes the roles and rights that are missing. Roles belong to the cluster, so processes that migrate other
// databases may do the same at the same moment: whatever they finish first is no longer lacking on the next look.
func prepare(ctx context.Context, conn *pgx.Conn) error {
	var lacking []string
	for range prepareAttempts {
		var err error
		if lacking, err = missing(ctx, conn); err != nil || len(lacking) == 0 {
			return err
		}
		err = run(ctx, conn, lacking)
		if codeIs(err, insufficient) {
			return administrator(conn, lacking, err)
		}
		if err != nil && !codeIs(err, duplicateObject, uniqueViolation, internalError) {
			return fmt.Errorf("prepare the database: %w", err)
		}
	}
	return administrator(conn, lacking, errors.New("the statements had no effect")) // a revoke only warns
}

// administrator says what somebody with more rights must do.
func administrator(conn *pgx.Conn, lacking []string, err error) error {
	return fmt.Errorf("prepare the database as %s: %w\nan administrator must run once, connected to this database:\n\n    %s;\n",
		conn.Config().User, err, strings.Join(lacking, ";\n    "))
}

func missing(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, prepareSQL, membership(conn))
	if err != nil {
		return nil, fmt.Errorf("read roles and rights: %w", err)
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read roles and rights: %w", err)
	}
	return statements, nil
}

func run(ctx context.Context, conn *pgx.Conn, statements []string) error {
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// codeIs says whether Postgres refused with one of these codes.
func codeIs(err error, codes ...string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && slices.Contains(codes, refused.Code)
}
