// Package transitions holds the state machine: the SQL functions of schema otto and the views of schema otto_api.
//
// Every migrate drops both schemas, creates them empty, and runs these files whole, in lexical order, in one
// transaction, as role otto_owner. So a file creates what it needs (`create`, not `create or replace`), in a schema
// that exists, and no table may depend on anything in here.
package transitions

import "embed"

// FS holds the SQL files.
//
//go:embed *.sql
var FS embed.FS
