package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ottoci/otto/api"
	"github.com/ottoci/otto/db"
)

// The tokens that a data directory keeps, by name. Runs remember who started them, so the name of the session's token
// tells the runs that end with their command from those that outlive it.
const (
	adminToken   = "admin"
	sessionToken = "otto run"
)

// tokenFile is where a data directory keeps a token.
func tokenFile(dir, name string) string {
	return filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".token")
}

// ensureToken gives an admin's token from its file, or makes one and says so.
func ensureToken(ctx context.Context, q *db.Queries, dir, name string) (secret string, fresh bool, err error) {
	path := tokenFile(dir, name)
	body, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", false, fmt.Errorf("read the token: %w", err)
	}
	secret = strings.TrimSpace(string(body))
	if secret != "" {
		hash := sha256.Sum256([]byte(secret))
		known, err := q.TokenCheck(ctx, hash[:])
		if err != nil {
			return "", false, err
		}
		if len(known) > 0 && !known[0].Revoked && !known[0].Expired {
			return secret, false, nil
		}
	}
	if secret, err = createToken(ctx, q, "user", "admin", name); err != nil {
		return "", false, err
	}
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", false, fmt.Errorf("keep the token: %w", err)
	}
	return secret, true, nil
}

// createToken makes a credential directly in the database, for a server that nobody can ask yet.
func createToken(ctx context.Context, q *db.Queries, kind, role, name string) (secret string, err error) {
	secret, hash := api.NewToken(kind)
	_, err = q.TokenCreate(ctx, db.TokenCreateParams{Hash: hash, Kind: kind, Role: role, Name: name, Actor: "otto " + role})
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return secret, nil
}
