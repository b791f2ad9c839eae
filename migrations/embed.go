// Package migrations brings a Postgres database to the schema this binary speaks.
//
// The tables come from the numbered files, forward only. The functions and views of package transitions are rebuilt
// whole, in one transaction, whenever anything here or there has changed. Otto needs a database of its own, a direct
// connection (no transaction-mode pooler), and Postgres 15 or newer.
package migrations

import "embed"

// FS holds the numbered SQL files; River's own migrations take the numbers 2 and 3 (river.go).
//
//go:embed *.sql
var FS embed.FS
