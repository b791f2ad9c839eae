package agent

import (
	"context"
	"maps"
	"os"
	"runtime"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/client"
)

// offer is what the agent says of itself: what it detects, then the declared labels.
func (a *Agent) offer(ctx context.Context) client.AgentOffer {
	return client.AgentOffer{
		Name:     a.cfg.Name,
		Version:  a.cfg.Version,
		Capacity: a.cfg.Capacity,
		Offers:   a.offers(ctx),
		Protocol: append(client.AgentFeatures(), "log-zstd"),
	}
}

// offers is what the agent detects and is told, and the isolation that it has proven, which no label can claim.
func (a *Agent) offers(ctx context.Context) map[string]any {
	out := offers(a.tools.offers(), a.containers.offers(ctx, a.cfg.Engine.Allow), a.cfg.Labels)
	delete(out, "isolation")
	if a.host != nil {
		out["isolation"] = int(a.proven.Best)
	}
	return out
}

func offers(more ...map[string]any) map[string]any {
	out := map[string]any{
		"os":   runtime.GOOS,
		"arch": runtime.GOARCH,
		// GOMAXPROCS knows the container's limit, NumCPU the process's affinity.
		"cores": min(runtime.NumCPU(), runtime.GOMAXPROCS(0)),
	}
	if name, err := os.Hostname(); err == nil {
		out["hostname"] = name
	}
	if bytes := memoryBytes(); bytes > 0 {
		// memory_gb is what tasks asked for before there were sizes: a machine sold with 16 GB shows a little less.
		out["memory"], out["memory_gb"] = bytes, (bytes+1<<29)>>30
	}
	if checkout.Available() {
		out[client.OfferCheckout] = true
	}
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}
