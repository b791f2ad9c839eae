package show

import (
	"fmt"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// The measures of the picture, in pixels. Text is not measured: no font is known here, so letters count as wide as those of
// the widest usual sans-serif fonts at their size, and longer text is cut.
const (
	margin       = 24
	gapColumns   = 56
	gapBoxes     = 12
	padding      = 14
	headHeight   = 44
	nameHeight   = 20
	noteHeight   = 16
	minBox       = 120
	maxBox       = 320
	letterName   = 7.6 // at 13px, semibold
	letterNote   = 6.4 // at 11px
	legendHeight = 28
)

// SVG draws a plan as a picture: stages from left to right, a box for each task. It needs no fonts, scripts or other files.
func SVG(p *pipeline.Plan) string {
	d := drawing{graph: graphOf(p)}
	d.layOut()
	d.open()
	for _, pair := range d.barriers() {
		d.barrier(pair[0], pair[1])
	}
	for i := range d.columns {
		d.column(i)
	}
	for _, a := range d.arrows {
		d.arrow(a)
	}
	for i := range d.columns {
		for n := range d.columns[i].boxes {
			d.box(i, n)
		}
	}
	d.legend()
	d.b.WriteString("</svg>\n")
	return d.b.String()
}

// drawing is a graph with the places of its parts.
type drawing struct {
	graph
	b             strings.Builder
	panels        []rect
	lanes         map[arrow]int // how high the arrows run that pass by other stages
	boxes         [][]rect
	width, height int
}

type rect struct{ x, y, w, h int }

// layOut gives every part its place: columns as wide as their widest box, boxes below one another.
func (d *drawing) layOut() {
	x := margin
	for _, col := range d.columns {
		width := textWidth(title(col), letterNote)
		for _, box := range col.boxes {
			width = max(width, textWidth(box.name, letterName)+2*padding)
			for _, note := range box.notes {
				width = max(width, textWidth(note, letterNote)+2*padding)
			}
		}
		width = min(max(width, minBox), maxBox)
		y := margin + headHeight
		var rects []rect
		for _, box := range col.boxes {
			h := 2*padding/2 + nameHeight + noteHeight*len(box.notes) + 2
			rects = append(rects, rect{x + padding, y, width, h})
			y += h + gapBoxes
		}
		if len(rects) == 0 {
			y += nameHeight + gapBoxes
		}
		d.boxes = append(d.boxes, rects)
		d.panels = append(d.panels, rect{x, margin, width + 2*padding, y - margin - gapBoxes + padding})
		x += width + 2*padding + gapColumns
		d.height = max(d.height, y+padding)
	}
	d.width = max(x-gapColumns+margin, 2*margin+3*minBox)
	d.layLanes()
	d.height += margin + legendHeight
}

// The lanes below the stages that arrows pass by; more arrows than lanes share them.
const (
	lanes   = 12
	gapLane = 7
)

// layLanes leads the arrows that pass by other stages below these.
func (d *drawing) layLanes() {
	d.lanes = map[arrow]int{}
	for _, a := range d.arrows {
		if a.to.column-a.from.column < 2 {
			continue
		}
		bottom := 0
		for _, panel := range d.panels[a.from.column+1 : a.to.column] {
			bottom = max(bottom, panel.y+panel.h)
		}
		d.lanes[a] = bottom + gapBoxes + gapLane*(len(d.lanes)%lanes)
		d.height = max(d.height, d.lanes[a])
	}
}

const svgStyle = `<style>
text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;fill:#1f2328}
.page{fill:#ffffff}.panel{fill:#f6f8fa;stroke:#d1d9e0}
.name{font-weight:600}.note,.head,.key{font-size:11px;fill:#59636e}.stage{font-weight:600}
.runs rect{fill:#dafbe1;stroke:#1a7f37}
.later rect{fill:#fff8c5;stroke:#9a6700;stroke-dasharray:5 3}
.omitted rect{fill:#eff2f5;stroke:#afb8c1}.omitted text{fill:#6e7781}.omitted .name{text-decoration:line-through}
.edge,.barrier{fill:none;stroke:#59636e;stroke-width:1.5}.barrier{stroke:#afb8c1;stroke-width:4}
.tip{fill:#59636e}.fat{fill:#afb8c1}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.page{fill:#0d1117}.panel{fill:#151b23;stroke:#3d444d}
.note,.head,.key{fill:#9198a1}
.runs rect{fill:#12361f;stroke:#3fb950}.later rect{fill:#3b2e0a;stroke:#d29922}
.omitted rect{fill:#212830;stroke:#656c76}.omitted text{fill:#9198a1}
.edge{stroke:#9198a1}.barrier{stroke:#656c76}.tip{fill:#9198a1}.fat{fill:#656c76}
}
</style>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path class="tip" d="M0 0L8 4L0 8z"/></marker>
<marker id="fat" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="14" markerHeight="14" markerUnits="userSpaceOnUse" orient="auto"><path class="fat" d="M0 0L8 4L0 8z"/></marker>
</defs>
`

func (d *drawing) open() {
	name := "Plan"
	if d.name != "" {
		name = "Plan of " + d.name
	}
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n",
		d.width, d.height, d.width, d.height)
	fmt.Fprintf(&d.b, "<title>%s</title>\n", xmlText(name))
	d.b.WriteString(svgStyle)
	fmt.Fprintf(&d.b, `<rect class="page" width="%d" height="%d"/>`+"\n", d.width, d.height)
}

// barrier joins two stages: the later one waits for all that come before it.
func (d *drawing) barrier(from, to int) {
	a, b := d.panels[from], d.panels[to]
	y := margin + headHeight/2
	fmt.Fprintf(&d.b, `<path class="barrier" marker-end="url(#fat)" d="M%d %dH%d"/>`+"\n", a.x+a.w, y, b.x-2)
}

func (d *drawing) column(i int) {
	col, r := d.columns[i], d.panels[i]
	fmt.Fprintf(&d.b, `<g class="column"><rect class="panel" x="%d" y="%d" width="%d" height="%d" rx="8"/>`, r.x, r.y, r.w, r.h)
	room := r.w - 2*padding
	fmt.Fprintf(&d.b, `<text class="stage" x="%d" y="%d">%s</text>`, r.x+padding, r.y+20, xmlText(cut(col.name, room, letterName)))
	if col.note != "" {
		fmt.Fprintf(&d.b, `<text class="head" x="%d" y="%d">%s</text>`, r.x+padding, r.y+35, xmlText(cut(col.note, room, letterNote)))
	}
	if len(col.boxes) == 0 {
		fmt.Fprintf(&d.b, `<text class="head" x="%d" y="%d">no tasks</text>`, r.x+padding, r.y+headHeight+14)
	}
	d.b.WriteString("</g>\n")
}

func (d *drawing) box(i, n int) {
	box, r := d.columns[i].boxes[n], d.boxes[i][n]
	room := r.w - 2*padding
	told := box.name + ": " + verdictWord(box.verdict)
	if box.why != "" {
		told += ": " + box.why
	}
	fmt.Fprintf(&d.b, `<g class="%s" id="%s"><title>%s</title><rect x="%d" y="%d" width="%d" height="%d" rx="6"/>`,
		class(box.verdict), box.id, xmlText(told), r.x, r.y, r.w, r.h)
	if d.columns[i].follows(n) {
		fmt.Fprintf(&d.b, `<path class="edge" marker-end="url(#tip)" d="M%d %dV%d"/>`, r.x+r.w/2, r.y-gapBoxes, r.y-1)
	}
	fmt.Fprintf(&d.b, `<text class="name" x="%d" y="%d">%s</text>`, r.x+padding, r.y+padding/2+14, xmlText(cut(box.name, room, letterName)))
	for k, note := range box.notes {
		fmt.Fprintf(&d.b, `<text class="note" x="%d" y="%d">%s</text>`, r.x+padding, r.y+padding/2+14+noteHeight*(k+1), xmlText(cut(note, room, letterNote)))
	}
	d.b.WriteString("</g>\n")
}

// arrow leads from the right of the box that is needed to the left of the one that needs it.
func (d *drawing) arrow(a arrow) {
	from, to := d.boxes[a.from.column][a.from.row], d.boxes[a.to.column][a.to.row]
	x1, y1, x2, y2 := from.x+from.w, from.y+from.h/2, to.x-2, to.y+to.h/2
	if y, ok := d.lanes[a]; ok {
		const turn = gapColumns / 2
		fmt.Fprintf(&d.b, `<path class="edge" marker-end="url(#tip)" d="M%d %dC%d %d %d %d %d %dH%dC%d %d %d %d %d %d"/>`+"\n",
			x1, y1, x1+turn, y1, x1+turn, y, x1+2*turn, y, x2-2*turn, x2-turn, y, x2-turn, y2, x2, y2)
		return
	}
	bend := max(30, (x2-x1)/2)
	if a.from.column >= a.to.column { // out to the right, and back in from the left
		bend = gapColumns
	}
	fmt.Fprintf(&d.b, `<path class="edge" marker-end="url(#tip)" d="M%d %dC%d %d %d %d %d %d"/>`+"\n", x1, y1, x1+bend, y1, x2-bend, y2, x2, y2)
}

func (d *drawing) legend() {
	x, y := margin, d.height-margin
	for _, key := range d.classes() {
		words := map[string]string{"runs": "runs", "later": "decided later", "omitted": "does not run"}[key]
		fmt.Fprintf(&d.b, `<g class="%s"><rect x="%d" y="%d" width="14" height="14" rx="3"/></g><text class="key" x="%d" y="%d">%s</text>`+"\n",
			key, x, y-11, x+20, y, words)
		x += 20 + textWidth(words, letterNote) + 16
	}
}
