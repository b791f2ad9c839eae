package api

import (
	"context"
	"crypto/sha256"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/db"
)

// principal is who sends a request. It comes from the credential only.
type principal struct {
	token     int64
	kind      string
	role      string
	name      string
	agent     int64
	agentName string
	// orchestrator is whose credential it is, or whose agent the enrolment token is for.
	orchestrator int64
	secret       string // for sealing the answers that are kept for repeats, see seal
}

// actor is how events name the principal.
func (p *principal) actor() string {
	switch p.kind {
	case kindAgent:
		return "agent:" + p.agentName
	case kindOrchestrator:
		return "orchestrator:" + p.name
	}
	return "user:" + p.name
}

// may says whether the principal has a permission.
func (p *principal) may(need permission) bool {
	switch need {
	case permitEnrol, permitAgent, permitEnrolOrchestrator, permitOrchestrator:
		return p.role == string(need)
	case permitReader:
		return p.role == "reader" || p.role == "writer" || p.role == "admin"
	case permitWriter:
		return p.role == "writer" || p.role == "admin"
	case permitAdmin:
		return p.role == "admin"
	}
	return false
}

// authority finds who a token belongs to. It remembers the answer for as long as the token is used: agents ask again and
// again. A revoked token must be worthless within 5 s on every node all the same; so each beat of the node brings a count of
// what made any token worth less, and when that has changed, all is forgotten. What is remembered counts for nothing while no
// beat has come for believeFor.
type authority struct {
	users, agents *db.Queries // agents have their own pool

	mu      sync.Mutex
	known   map[[sha256.Size]byte]*remembered
	changes int64     // the count, as of the last beat
	asked   time.Time // when that was asked for
	forgot  int       // how often all was forgotten: what was read before that is not remembered after it
}

// remembered is what is known of a token.
type remembered struct {
	who   *principal
	asked time.Time // when the database was asked about it
	until time.Time // when it expires; zero if it does not
	used  bool      // since that was last noted
}

const (
	// believeFor is how long the database's word about tokens counts. It leaves a part of the 5 s for the request at hand.
	believeFor = 4500 * time.Millisecond
	// noteEvery is how often the use of tokens is noted. A token that is not used for so long is forgotten.
	noteEvery = time.Minute
	// rememberMax bounds the memory, to about 15 MB.
	rememberMax = 50_000
)

const hintToken = "an admin makes tokens: POST /v1/tokens, or otto token create"

// authenticate answers who an Authorization header is of, or the problem to answer.
func (s *authority) authenticate(ctx context.Context, header string) (*principal, error) {
	scheme, secret, _ := strings.Cut(header, " ")
	if secret = strings.TrimSpace(secret); !strings.EqualFold(scheme, "bearer") || secret == "" {
		return nil, newProblem(codeUnauthorized, "the request has no token").
			hint("send the header Authorization: Bearer otto_…; %s", hintToken)
	}
	return s.identify(ctx, secret)
}

// identify answers whose a secret is.
func (s *authority) identify(ctx context.Context, secret string) (*principal, error) {
	kind, err := parseToken(secret)
	if err != nil {
		return nil, newProblem(codeUnauthorized, "the token is not valid: %s", err).hint("copy it whole; %s", hintToken)
	}
	hash := sha256.Sum256([]byte(secret))
	if who := s.recall(hash); who != nil {
		return who, nil
	}
	queries := s.users
	if kind == kindAgent || kind == kindOrchestrator {
		queries = s.agents
	}
	asked, forgot := time.Now(), s.forgotten()
	rows, err := queries.TokenCheck(ctx, hash[:])
	if err != nil {
		return nil, err
	}
	switch {
	case len(rows) == 0:
		return nil, newProblem(codeUnauthorized, "the token is unknown here").hint("is it of another server? %s", hintToken)
	case rows[0].Revoked:
		return nil, newProblem(codeUnauthorized, "token %q is revoked", rows[0].Name).hint("%s", hintToken)
	case rows[0].Expired:
		return nil, newProblem(codeUnauthorized, "token %q has expired", rows[0].Name).hint("%s", hintToken)
	}
	t := rows[0]
	who := &principal{token: t.ID, kind: t.Kind, role: t.Role, name: t.Name, agent: t.Agent, agentName: t.AgentName, orchestrator: t.Orchestrator, secret: secret}
	known := &remembered{who: who, asked: asked}
	if t.ExpiresAt != nil {
		known.until = asked.Add(time.Duration(t.SecondsLeft * float64(time.Second)))
	}
	if kind != kindEnrol { // which is used once
		s.remember(hash, known, forgot)
	}
	return who, nil
}

// recall answers what is remembered and may still be believed.
func (s *authority) recall(hash [sha256.Size]byte) *principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, now := s.known[hash], time.Now()
	switch {
	case found == nil:
		return nil
	case !found.until.IsZero() && !now.Before(found.until):
		return nil
	case now.Sub(found.asked) > believeFor && now.Sub(s.asked) > believeFor:
		return nil
	}
	found.used = true
	return found.who
}

func (s *authority) forgotten() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgot
}

// remember keeps an answer, unless all was forgotten since it was asked for. When there are too many, all are forgotten: that
// costs one look-up each.
func (s *authority) remember(hash [sha256.Size]byte, known *remembered, forgot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forgot != forgot {
		return
	}
	if s.known == nil || len(s.known) >= rememberMax {
		s.known = map[[sha256.Size]byte]*remembered{}
	}
	s.known[hash] = known
}

// heard takes what a beat brought.
func (s *authority) heard(changes int64, asked time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if changes != s.changes {
		s.clear()
	}
	s.changes, s.asked = changes, asked
}

// forget makes this node look again at once; the others hear of a change with their next beat.
func (s *authority) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *authority) clear() {
	s.forgot++
	clear(s.known)
}

// note tells the database which tokens were used since it was last told, all in one statement, and forgets the others, and
// those that turn out not to be good any more: whoever changed them did not count it.
func (s *authority) note(ctx context.Context) error {
	used := s.takeUsed()
	if len(used) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roundPatience)
	defer cancel()
	good, err := s.agents.TokensUse(ctx, used)
	if err != nil {
		return err
	}
	doubtful := map[int64]bool{}
	for _, token := range used {
		doubtful[token] = true
	}
	for _, token := range good {
		delete(doubtful, token)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.known, func(_ [sha256.Size]byte, k *remembered) bool { return doubtful[k.who.token] })
	return nil
}

// takeUsed lists the tokens that were used, and forgets the others.
func (s *authority) takeUsed() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var used []int64
	maps.DeleteFunc(s.known, func(_ [sha256.Size]byte, k *remembered) bool {
		if k.used {
			used = append(used, k.who.token)
		}
		idle := !k.used && time.Since(k.asked) > noteEvery
		k.used = false
		return idle
	})
	return used
}

// authorize refuses a principal without the permission, naming what is needed.
func authorize(who *principal, need permission) error {
	if who.may(need) {
		return nil
	}
	p := newProblem(codeForbidden, "token %q has the role %s; this needs %s", who.name, who.role, need)
	switch need {
	case permitAgent:
		return p.hint("only agents call this, with the credential of their enrolment")
	case permitOrchestrator:
		return p.hint("only orchestrators call this, with the credential of their enrolment")
	case permitEnrolOrchestrator:
		return p.hint("make an enrolment token: POST /v1/tokens with the role enrol-orchestrator")
	case permitEnrol:
		return p.hint("make an enrolment token: POST /v1/tokens with the role enrol")
	}
	return p.hint("%s", hintToken)
}
