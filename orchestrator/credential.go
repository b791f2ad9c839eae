package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ottoci/otto/client"
)

// Identity says how an orchestrator gets its credential.
type Identity struct {
	URL        string
	Token      string // the credential; if empty, the one in StateFile
	EnrolToken string // used once, when there is none yet
	StateFile  string // where the credential is kept, mode 0600
	Offer      client.OrchestratorOffer
}

// credential is what the state file holds.
type credential struct {
	URL          string `json:"url"`
	Orchestrator int64  `json:"orchestrator"`
	Token        string `json:"token"`
}

// ErrNoCredential says that there is neither a credential nor a token to get one.
var ErrNoCredential = errors.New("the orchestrator has no credential, and no token to enrol with")

// Connect finds the credential, or enrols.
func (i Identity) Connect(ctx context.Context) (*client.Client, error) {
	if i.Token != "" {
		return client.New(client.Config{URL: i.URL, Token: i.Token})
	}
	body, err := os.ReadFile(i.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return i.enrol(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("read the orchestrator's credential: %w", err)
	}
	var stored credential
	if err := json.Unmarshal(body, &stored); err != nil || stored.Token == "" {
		return nil, fmt.Errorf("%s holds no credential: remove it and enrol again", i.StateFile)
	}
	return client.New(client.Config{URL: i.URL, Token: stored.Token})
}

func (i Identity) enrol(ctx context.Context) (*client.Client, error) {
	if i.EnrolToken == "" {
		return nil, ErrNoCredential
	}
	c, err := client.New(client.Config{URL: i.URL, Token: i.EnrolToken})
	if err != nil {
		return nil, err
	}
	enrolled, err := c.OrchestratorEnrol(ctx, i.Offer)
	if err != nil {
		return nil, fmt.Errorf("enrol at %s: %w", i.URL, err)
	}
	if err := i.keep(enrolled); err != nil {
		return nil, fmt.Errorf("keep the orchestrator's credential: %w", err)
	}
	return client.New(client.Config{URL: i.URL, Token: enrolled.Token})
}

// keep writes the credential whole or not at all.
func (i Identity) keep(enrolled client.OrchestratorEnrolled) error {
	body, err := json.Marshal(credential{URL: i.URL, Orchestrator: enrolled.Orchestrator.Orchestrator, Token: enrolled.Token})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(i.StateFile), 0o700); err != nil {
		return err
	}
	draft := i.StateFile + ".new"
	if err := os.WriteFile(draft, body, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, i.StateFile)
}
