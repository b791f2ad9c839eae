package agent

import (
	"context"

	"github.com/ottoci/otto/agent/engine"
)

// Offers is what an agent with these settings would offer on this machine. None is started.
func Offers(ctx context.Context, cfg Config) (map[string]any, error) {
	a, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Engine.Host != NoEngine {
		if a.containers.engine, err = engine.Open(cfg.Engine); err != nil {
			return nil, err
		}
	}
	return a.offer(ctx).Offers, nil
}
