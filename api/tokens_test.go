package api

import (
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

func TestTokensAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	n := start(t)
	revoked, expired := n.newToken("reader"), n.newToken("reader")
	mustExec(t, n, "update tokens set revoked_at = now() where hash = $1", hashToken(revoked))
	mustExec(t, n, "update tokens set expires_at = now() - interval '1 hour' where hash = $1", hashToken(expired))
	unknown, _ := NewToken(kindUser)
	wrong := unknown[:len(unknown)-1] + string(base62[(strings.IndexByte(base62, unknown[len(unknown)-1])+1)%62])
	for _, tt := range []struct{ name, header, detail string }{
		{"missing", "", "the request has no token"},
		{"another_scheme", "Basic b3R0bzpvdHRv", "the request has no token"},
		{"another_kind_of_token", "Bearer ghp_123", "the token is not valid: it does not look like an Otto token"},
		{"mistyped", "Bearer " + wrong, "the token is not valid: its checksum is wrong, a part of it may be missing"},
		{"cut_off", "Bearer " + unknown[:20], "the token is not valid: its checksum is wrong, a part of it may be missing"},
		{"unknown", "Bearer " + unknown, "the token is unknown here"},
		{"revoked", "Bearer " + revoked, `token "reader" is revoked`},
		{"expired", "Bearer " + expired, `token "reader" has expired`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := refused(t, n.do("", "GET", "/v1/self", nil, "Authorization", tt.header), 401, "unauthorized")
			if p.Detail != tt.detail || p.Hint == "" {
				t.Errorf("got %q, hint %q", p.Detail, p.Hint)
			}
		})
	}
	p := refused(t, n.do("reader", "POST", "/v1/runs", "{}"), 403, "forbidden")
	if p.Detail != `token "reader" has the role reader; this needs writer` {
		t.Error(p.Detail)
	}
}

// A wrong checksum must not cost a query: so it is answered with a database that is not there.
func TestMistypedTokenDoesNotReachTheDatabase(t *testing.T) {
	t.Parallel()
	a := unconnected(t)
	_, err := a.authority.identify(t.Context(), "otto_user_"+strings.Repeat("0", 36))
	if p, ok := err.(*Problem); !ok || p.Status != 401 {
		t.Error(err)
	}
}

func TestRevokedTokenEndsAtOnce(t *testing.T) {
	t.Parallel()
	n := start(t)
	victim := n.client("reader")
	self, err := victim.SelfShow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.client("admin").TokenRevoke(t.Context(), self.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := victim.SelfShow(t.Context()); !client.IsStatus(err, 401) {
		t.Errorf("got %v", err)
	}
	// Another node learns it by asking again, at the latest after this long.
	if rememberFor > 5*time.Second {
		t.Errorf("a revoked token is remembered for %s", rememberFor)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	n := start(t)
	admin := n.client("admin")
	made, err := admin.TokenCreate(t.Context(), client.TokenCreate{Name: "ci", Role: "writer", ExpiresMS: 60_000})
	if err != nil || made.Kind != "user" || made.ExpiresAt == nil {
		t.Fatal(made, err)
	}
	self, err := n.with(made.Secret).SelfShow(t.Context())
	if err != nil || self.Role != "writer" || self.Actor != "user:ci" || self.Version != "test" {
		t.Error(self, err)
	}
	enrol, err := admin.TokenCreate(t.Context(), client.TokenCreate{Name: "box", Role: "enrol"})
	if err != nil || enrol.Kind != "enrol" || enrol.ExpiresAt == nil {
		t.Error(enrol, err)
	}
	all, err := client.All(func(cursor string) (client.Page[client.Token], error) {
		return admin.TokenList(t.Context(), client.ListOptions{Limit: 1, Cursor: cursor})
	})
	if err != nil || len(all) != 3 || all[1].Name != "ci" {
		t.Error(all, err)
	}
	if _, err := admin.TokenRevoke(t.Context(), made.Token.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.TokenRevoke(t.Context(), made.Token.Token); !client.IsStatus(err, 409) {
		t.Error(err)
	}
	if _, err := admin.TokenRevoke(t.Context(), 999); !client.IsStatus(err, 404) {
		t.Error(err)
	}
	var leaked int
	err = n.db.Owner.QueryRow(t.Context(), "select count(*) from tokens where hash = $1::bytea or name like '%otto_%'", []byte(made.Secret)).Scan(&leaked)
	if err != nil || leaked != 0 {
		t.Error("a secret is stored", err)
	}
}
