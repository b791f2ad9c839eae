package agent

import (
	"context"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/client"
)

// openRepos opens the mirrors of repositories. Git's processes are children of the agent like keepers, so they are counted as such:
// what is not would be killed for an orphan.
func (a *Agent) openRepos() (*checkout.Store, error) {
	return checkout.Open(checkout.Config{
		Dir: a.dir.git(), Environ: a.cfg.Environ, Limit: a.cfg.MirrorBytes, Bytes: a.cfg.SourceBytes, Entries: a.cfg.SourceEntries,
		Schemes: a.cfg.Git.Schemes, CAFile: a.cfg.Git.CAFile, Credentials: a.cfg.Git.Credentials, SSHKey: a.cfg.Git.SSHKey, KnownHosts: a.cfg.Git.KnownHosts,
		Started: a.keepers.start, Ended: a.keepers.forget,
	})
}

// checkout puts the run's commit into the workspace.
func (t *task) checkout(ctx context.Context, what client.Checkout) error {
	r := checkout.Request{Checkout: what, Into: t.path("workspace"), Say: func(format string, args ...any) { t.journal.say(-1, format, args...) }}
	if t.lease.Spec.Checkout != nil {
		r.CheckoutSpec = *t.lease.Spec.Checkout
	}
	if err := t.agent.repos.Checkout(ctx, r); err != nil {
		return err
	}
	r.Say("checked out %s at %s", what.Repository, what.Commit)
	return nil
}
