package api

import (
	"crypto/sha256"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
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
}

// A token that one node revokes is refused by another within 5 s, whoever asks there meanwhile, and from then on for good.
func TestRevokedTokenEndsOnOtherNodes(t *testing.T) {
	t.Parallel()
	n := start(t)
	other := startOn(t, n.db, n.store, func(c *Config) { c.Name = "other" })
	secret := n.newToken("reader")
	victim := other.with(secret)
	self, err := victim.SelfShow(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.client("admin").TokenRevoke(t.Context(), self.Token); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for time.Since(revoked) < 10*time.Second {
				if _, err := victim.SelfShow(t.Context()); client.IsStatus(err, 401) {
					if took := time.Since(revoked); took > 5*time.Second {
						t.Errorf("refused after %s", took)
					}
					if _, err := victim.SelfShow(t.Context()); !client.IsStatus(err, 401) {
						t.Error("taken again", err)
					}
					return
				}
			}
			t.Error("never refused")
		})
	}
	wg.Wait()
}

// A node does without the database for tokens that it knows, for as long as beats say that nothing has changed.
func TestTokensAreRemembered(t *testing.T) {
	t.Parallel()
	n := start(t)
	s := &authority{users: db.New(n.db.App), agents: db.New(n.db.App)}
	secret := n.newToken("reader")
	hash := sha256.Sum256([]byte(secret))
	known := func() bool { return s.recall(hash) != nil }
	look := func() {
		t.Helper()
		if _, err := s.identify(t.Context(), secret); err != nil || !known() {
			t.Fatal("not remembered", err)
		}
	}
	age := func() { s.known[hash].asked = time.Now().Add(-time.Hour) }
	look()
	age()
	if known() {
		t.Error("believed without a beat")
	}
	s.heard(0, time.Now())
	if !known() {
		t.Error("a beat without a change is no reason to forget")
	}
	s.heard(0, time.Now().Add(-believeFor-time.Millisecond))
	if known() {
		t.Error("believed after an old beat")
	}
	s.heard(1, time.Now())
	if known() {
		t.Error("believed after a change")
	}
	look()
	s.known[hash].until = time.Now()
	if known() {
		t.Error("believed after it has expired")
	}
	stale := s.forgotten()
	look()
	kept := s.known[hash]
	s.heard(2, time.Now())
	s.remember(hash, kept, stale)
	if known() {
		t.Error("what was read before a change was remembered after it")
	}
}

// That tokens are used is noted in one statement for all. One that turns out not to be good is forgotten.
func TestUseOfTokensIsNoted(t *testing.T) {
	t.Parallel()
	n := start(t)
	s := &authority{users: db.New(n.db.App), agents: db.New(n.db.App)}
	secrets := []string{n.newToken("reader"), n.newToken("reader"), n.newToken("reader")}
	var hashes [][sha256.Size]byte
	for _, secret := range secrets {
		if _, err := s.identify(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, sha256.Sum256([]byte(secret)))
	}
	mustExec(t, n, "update tokens set last_used_at = null")
	mustExec(t, n, "update tokens set revoked_at = now() where hash = $1", hashToken(secrets[1]))
	s.heard(0, time.Now())
	s.recall(hashes[0])
	s.recall(hashes[1])
	s.known[hashes[2]].asked = time.Now().Add(-2 * noteEvery)
	if err := s.note(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false} {
		var used bool
		if err := n.db.Owner.QueryRow(t.Context(), "select last_used_at is not null from tokens where hash = $1", hashes[i][:]).Scan(&used); err != nil || used != want {
			t.Errorf("token %d: used %v, want %v, %v", i, used, want, err)
		}
		if known := s.recall(hashes[i]) != nil; known != want {
			t.Errorf("token %d: remembered %v, want %v", i, known, want)
		}
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
