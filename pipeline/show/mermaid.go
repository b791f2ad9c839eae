package show

import (
	"fmt"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// Mermaid draws a plan as text, for pages that render Mermaid.
func Mermaid(p *pipeline.Plan) string {
	g := graphOf(p)
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, col := range g.columns {
		fmt.Fprintf(&b, "  subgraph s%d[\"%s\"]\n", i, mermaidText(title(col)))
		if len(col.boxes) == 0 {
			fmt.Fprintf(&b, "    s%d_empty[\"no tasks\"]:::omitted\n", i)
		}
		for n, box := range col.boxes {
			fmt.Fprintf(&b, "    %s[\"%s\"]:::%s\n", box.id, mermaidText(strings.Join(append([]string{box.name}, box.notes...), "\n")), class(box.verdict))
			if col.follows(n) {
				fmt.Fprintf(&b, "    %s --> %s\n", col.boxes[n-1].id, box.id)
			}
		}
		b.WriteString("  end\n")
	}
	for _, pair := range g.barriers() {
		fmt.Fprintf(&b, "  s%d ==> s%d\n", pair[0], pair[1])
	}
	for _, a := range g.arrows {
		fmt.Fprintf(&b, "  %s --> %s\n", g.box(a.from).id, g.box(a.to).id)
	}
	b.WriteString("  classDef runs fill:#1f883d,stroke:#1a7f37,color:#ffffff\n")
	b.WriteString("  classDef later fill:#fff8c5,stroke:#9a6700,color:#4d2d00,stroke-dasharray:5 3\n")
	b.WriteString("  classDef omitted fill:#eaeef2,stroke:#8c959f,color:#57606a\n")
	return b.String()
}

func (g *graph) box(at place) *box { return &g.columns[at.column].boxes[at.row] }

// title is what stands above a stage.
func title(c column) string {
	if c.note == "" {
		return c.name
	}
	return c.name + " · " + c.note
}

// mermaidText writes text so that Mermaid reads no markup in it: letters and digits as they are, the rest by number where
// it could mean something.
func mermaidText(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteString("<br>")
		case r < ' ' || r == 0x7f:
			b.WriteByte(' ')
		case strings.ContainsRune("\"#&;<>`*_~|\\[]{}", r):
			fmt.Fprintf(&b, "#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
