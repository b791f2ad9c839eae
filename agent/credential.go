package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ottoci/otto/client"
)

// credential is what the state file holds.
type credential struct {
	URL   string `json:"url"`
	Agent int64  `json:"agent"`
	Name  string `json:"name"`
	Token string `json:"token"`
}

// connect finds or gets the agent's credential and says hello. It does not give up while the server is away.
func (a *Agent) connect(ctx context.Context) error {
	token, err := a.credential(ctx)
	if err != nil {
		return err
	}
	welcome, err := a.hello(ctx, token)
	if client.IsStatus(err, http.StatusUnauthorized) {
		err = fmt.Errorf("the server refuses the agent's credential %s: %w", a.credentialPlace(), err)
		if a.cfg.Token != "" || a.cfg.EnrolToken == "" {
			return err
		}
		welcome, err = a.enrolAgain(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("say hello to %s: %w", a.cfg.URL, err)
	}
	a.settings = withDefaults(welcome.Settings)
	a.log.InfoContext(ctx, "agent connected", "agent", welcome.Agent.Agent, "name", a.cfg.Name, "url", a.cfg.URL)
	return nil
}

// hello says that the agent has started, with a credential that it uses from now on.
func (a *Agent) hello(ctx context.Context, token string) (welcome client.AgentWelcome, err error) {
	if a.reports != nil {
		a.reports.Stop()
	}
	if err := a.dial(token); err != nil {
		return welcome, err
	}
	err = a.persist(ctx, "hello", func(ctx context.Context) (err error) {
		welcome, err = a.control.AgentHello(ctx, a.offer(ctx))
		return err
	})
	return welcome, err
}

// enrolAgain takes the place of a credential that is refused. The agent is another one to the server from then on: what was revoked
// stays so, and its history with it. The old credential is kept until there is a new one.
func (a *Agent) enrolAgain(ctx context.Context, refused error) (welcome client.AgentWelcome, err error) {
	a.log.WarnContext(ctx, "credential refused, enrolling again", "state_file", a.cfg.StateFile, "error", refused)
	token, err := a.enrol(ctx)
	if err != nil {
		return welcome, fmt.Errorf("%w; and the enrolment token does not help: %w", refused, err)
	}
	return a.hello(ctx, token)
}

// persist is insist for the calls before there is work, which a 401 ends too: nothing is lost by stopping here.
func (a *Agent) persist(ctx context.Context, what string, call func(context.Context) error) error {
	var unauthorized error
	err := a.insist(ctx, what, func(ctx context.Context) error {
		err := call(ctx)
		if client.IsStatus(err, http.StatusUnauthorized) {
			unauthorized = err
			return nil
		}
		return err
	})
	return errors.Join(unauthorized, err)
}

// credential is the configured token, else the stored one, else a new one.
func (a *Agent) credential(ctx context.Context) (string, error) {
	if a.cfg.Token != "" {
		return a.cfg.Token, nil
	}
	body, err := os.ReadFile(a.cfg.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a.enrol(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("read the agent's credential: %w", err)
	}
	var stored credential
	if err := json.Unmarshal(body, &stored); err != nil || stored.Token == "" {
		return "", fmt.Errorf("state file %s holds no credential: remove it and enrol again", a.cfg.StateFile)
	}
	return stored.Token, nil
}

// enrol spends the enrol token and stores the credential it buys before anything else happens.
func (a *Agent) enrol(ctx context.Context) (string, error) {
	if a.cfg.EnrolToken == "" {
		return "", fmt.Errorf("there is no credential in %s, and no enrol token to get one", a.cfg.StateFile)
	}
	c, err := a.client(a.cfg.EnrolToken)
	if err != nil {
		return "", err
	}
	var enrolled client.AgentEnrolled
	err = a.persist(ctx, "enrol", func(ctx context.Context) (err error) {
		enrolled, err = c.AgentEnrol(ctx, a.offer(ctx))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("enrol at %s: %w", a.cfg.URL, err)
	}
	body, err := json.Marshal(credential{URL: a.cfg.URL, Agent: enrolled.Agent.Agent, Name: a.cfg.Name, Token: enrolled.Token})
	if err != nil {
		return "", err
	}
	if err := writeFileAtomic(a.cfg.StateFile, body); err != nil {
		return "", fmt.Errorf("store the agent's credential: %w", err)
	}
	a.log.InfoContext(ctx, "agent enrolled", "agent", enrolled.Agent.Agent, "state_file", a.cfg.StateFile)
	return enrolled.Token, nil
}

func (a *Agent) credentialPlace() string {
	if a.cfg.Token != "" {
		return "(from its settings)"
	}
	return "in " + a.cfg.StateFile
}

// writeFileAtomic leaves either the old file or the whole new one, readable by its owner only.
func writeFileAtomic(path string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".state-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// withDefaults guards against a server that leaves settings out: a zero interval would be a busy loop.
func withDefaults(s client.AgentSettings) client.AgentSettings {
	setDefault(&s.LeaseTTLMS, 30_000)
	setDefault(&s.HeartbeatMS, s.LeaseTTLMS/3)
	setDefault(&s.GraceMS, 10_000)
	setDefault(&s.ChunkBytes, 256<<10)
	return s
}

// milliseconds makes a duration of a number off the wire.
func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
