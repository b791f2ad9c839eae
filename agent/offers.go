package agent

import (
	"maps"
	"os"
	"runtime"

	"github.com/ottoci/otto/client"
)

// offer is what the agent says of itself: what it detects, then the declared labels.
func (a *Agent) offer() client.AgentOffer {
	return client.AgentOffer{
		Name:     a.cfg.Name,
		Version:  a.cfg.Version,
		Capacity: a.cfg.Capacity,
		Offers:   offers(a.cfg.Labels),
		Protocol: []string{"log-zstd", client.ProtocolTask},
	}
}

func offers(labels map[string]any) map[string]any {
	out := map[string]any{
		"os":   runtime.GOOS,
		"arch": runtime.GOARCH,
		// GOMAXPROCS knows the container's limit, NumCPU the process's affinity.
		"cores": min(runtime.NumCPU(), runtime.GOMAXPROCS(0)),
	}
	if name, err := os.Hostname(); err == nil {
		out["hostname"] = name
	}
	if gb := memoryGB(); gb > 0 {
		out["memory_gb"] = gb
	}
	maps.Copy(out, labels)
	return out
}
