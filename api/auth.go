package api

import (
	"context"
	"crypto/sha256"
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
	secret    string // for sealing the answers that are kept for repeats, see seal
}

// actor is how events name the principal.
func (p *principal) actor() string {
	if p.kind == kindAgent {
		return "agent:" + p.agentName
	}
	return "user:" + p.name
}

// may says whether the principal has a permission.
func (p *principal) may(need permission) bool {
	switch need {
	case permitEnrol, permitAgent:
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

// authority finds who a token belongs to. It remembers the answer for a moment, since an agent or a dashboard asks
// many times a second; a moment, since a revoked token must be worthless within 5 s on every node.
type authority struct {
	users, agents *db.Queries // agents have their own pool

	mu    sync.Mutex
	known map[[sha256.Size]byte]remembered
}

type remembered struct {
	who   *principal
	until time.Time
}

const (
	rememberFor = 3 * time.Second
	rememberMax = 10_000
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
	if kind == kindAgent {
		queries = s.agents
	}
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
	who := &principal{token: t.ID, kind: t.Kind, role: t.Role, name: t.Name, agent: t.Agent, agentName: t.AgentName, secret: secret}
	s.remember(hash, who)
	return who, nil
}

func (s *authority) recall(hash [sha256.Size]byte) *principal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.known[hash]; ok && time.Now().Before(found.until) {
		return found.who
	}
	return nil
}

// remember keeps an answer. When there are too many, all are forgotten: that costs one look-up each.
func (s *authority) remember(hash [sha256.Size]byte, who *principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil || len(s.known) >= rememberMax {
		s.known = map[[sha256.Size]byte]remembered{}
	}
	s.known[hash] = remembered{who, time.Now().Add(rememberFor)}
}

// forget makes this node look again; the others do within rememberFor.
func (s *authority) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
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
	case permitEnrol:
		return p.hint("make an enrolment token: POST /v1/tokens with the role enrol")
	}
	return p.hint("%s", hintToken)
}
