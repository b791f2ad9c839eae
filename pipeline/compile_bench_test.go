package pipeline

import (
	"fmt"
	"strings"
	"testing"
)

// taskForms are tasks as a program writes them, a thousand times: what a file costs grows with them, and no faster.
func taskForms() map[string]string {
	return map[string]string{
		"plain":       "      - task: t%[1]d\n        steps: [{sh: make}]\n",
		"conditions":  "      - task: t%[1]d\n        when: branch == \"main\"\n        steps: [{sh: make}]\n",
		"expressions": "      - task: t%[1]d\n        env:\n          N: ${{ branch }}-%[1]d\n        steps: [{sh: make}]\n",
		"later":       "      - task: t%[1]d\n        when: outputs.first.v == \"a\"\n        steps: [{sh: make}]\n",
		"needs":       "      - task: t%[1]d\n        needs: [first]\n        steps: [{sh: make}]\n",
	}
}

func BenchmarkCompileTasks(b *testing.B) {
	for _, form := range sortedKeys(taskForms()) {
		for _, n := range []int{1000, 9999} {
			text := "stages:\n  - stage: first\n    outputs: [v]\n    steps: [{sh: make}]\n  - parallel:\n"
			var t strings.Builder
			t.WriteString(text)
			for i := range n {
				fmt.Fprintf(&t, taskForms()[form], i)
			}
			f := File{Name: "Ottofile.yaml", Data: []byte(t.String())}
			b.Run(fmt.Sprintf("%s/%d", form, n), func(b *testing.B) {
				b.ReportAllocs()
				began := usedCPU(b)
				for b.Loop() {
					if plan, diags := Compile(f, Facts{Event: Event{Kind: EventPush, Branch: "main"}}); plan == nil {
						b.Fatal(diags)
					}
				}
				b.ReportMetric(float64((usedCPU(b)-began).Microseconds())/float64(b.N)/float64(n), "cpu-µs/task")
			})
		}
	}
}
