package show

import (
	"encoding/json"
	"testing"

	"github.com/ottoci/otto/pipeline"
)

// Requirements read the same whether a plan has just been made or was read from its JSON.
func TestRequiresText(t *testing.T) {
	t.Parallel()
	made := map[string]any{
		"cores": int64(2), "memory": int64(2 << 30), "disk": int64(20e9), "os": "linux", "tools": []string{"git", "helm"}, "gpu": true, "tpu": false,
		"go": pipeline.Range{"<": "2", ">=": "1.25"}, "java": pipeline.Range{"!=": "21"}, "load": 0.5,
	}
	const want = "cores>=2, disk>=20GB, go>=1.25 <2, gpu, java!=21, load>=0.5, memory>=2GiB, os=linux, tools=git+helm, no tpu"
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	var read map[string]any
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	for _, requires := range []map[string]any{made, read} {
		if got := RequiresText(requires); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
