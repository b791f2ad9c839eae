package pipeline

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// checkOrigins proves that each value of a plan has an origin, each origin a value, and that an origin in the file
// points at the text that gives the value.
func checkOrigins(t *testing.T, a *txtar.Archive, plan *Plan) {
	t.Helper()
	f, _ := input(t, a)
	leaves := planLeaves(t, plan)
	for ptr := range plan.Origins {
		if _, ok := leaves[ptr]; !ok {
			t.Errorf("the origin %s is of no value", ptr)
		}
	}
	texts := map[string]string{f.Name: readable(f.Data)}
	for _, x := range a.Files {
		if _, own := texts[x.Name]; !own {
			texts[x.Name] = readable(x.Data)
			// Where a branch or a tag is used, origins name it, and not the commit that the lock has.
			if repo, _, git := strings.Cut(x.Name, "@"); git {
				texts[repo+"@v1"] = texts[x.Name]
			} else if strings.HasPrefix(x.Name, VendorDir) {
				texts["git+https://example.org/ci.git//"+path.Base(x.Name)+"@v1"] = texts[x.Name]
			}
		}
	}
	for ptr, value := range leaves {
		o, ok := plan.Origins[ptr]
		switch {
		case !ok:
			t.Errorf("%s = %v has no origin", ptr, value)
		case o.Kind == originDefault || o.Kind == originConvention:
			if o.Note == "" || o.Line != 0 {
				t.Errorf("%s: a rule without its note, or with a place: %+v", ptr, o)
			}
		case o.Kind == originGiven:
			if !strings.HasPrefix(ptr, "/inputs/params/") {
				t.Errorf("%s is said to be given", ptr)
			}
		case o.Note != "":
			if here := textAt(texts[o.File], o); here == "" {
				t.Errorf("%s comes from nowhere: %+v", ptr, o)
			}
		case o.File != f.Name && o.Template == "" || texts[o.File] == "":
			t.Errorf("%s comes from %q", ptr, o.File)
		default:
			if here := textAt(texts[o.File], o); !gives(here, ptr, value) && !makes(here, o, value) {
				t.Errorf("%s = %v, but at %d:%d stands %q", ptr, value, o.Line, o.Column, shorten(here, 60))
			}
		}
	}
}

func readable(data []byte) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(data), "\uFEFF"), "\r\n", "\n")
}

// makes tells whether the text that starts here becomes the value once the inputs of its template are put in.
func makes(here string, o Origin, value any) bool {
	line, _, _ := strings.Cut(strings.TrimLeft(blockHeader.ReplaceAllString(here, ""), " "), "\n")
	before, _, found := strings.Cut(strings.Trim(line, `"'`), "${{")
	_, isNumber := value.(float64)
	return o.Template != "" && found && (isNumber || strings.HasPrefix(fmt.Sprint(value), before))
}

// planLeaves gives each scalar of a plan's JSON by its pointer.
func planLeaves(t *testing.T, plan *Plan) map[string]any {
	t.Helper()
	bare := *plan
	bare.Origins = nil
	body, err := json.Marshal(bare)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		t.Fatal(err)
	}
	leaves := map[string]any{}
	walkJSON(tree, "", func(ptr string, v any) {
		if !workedOut.MatchString(ptr) {
			leaves[ptr] = v
		}
	})
	return leaves
}

// workedOut are the values that planning makes of others, and the facts, which nobody has to look for: they stand beside what
// they come from.
var workedOut = regexp.MustCompile(`^/inputs/(event|hashes)/|^/trigger/|/when/(verdict|residual|saw/.*)$|/tasks/\d+/(omitted|later/\d+/\w+)$|/steps/\d+/omitted$|/may_add/inputs/`)

func walkJSON(v any, ptr string, leaf func(ptr string, v any)) {
	switch v := v.(type) {
	case map[string]any:
		for k, child := range v {
			walkJSON(child, ptr+"/"+escape(k), leaf)
		}
	case []any:
		for i, child := range v {
			walkJSON(child, fmt.Sprintf("%s/%d", ptr, i), leaf)
		}
	default:
		leaf(ptr, v)
	}
}

// textAt is the file from a place on.
func textAt(text string, o Origin) string {
	lines := strings.Split(text, "\n")
	if o.Line < 1 || o.Line > len(lines) {
		return ""
	}
	first := []rune(lines[o.Line-1])
	if o.Column < 1 || o.Column > len(first) {
		return ""
	}
	return string(first[o.Column-1:]) + "\n" + strings.Join(lines[o.Line:], "\n")
}

// gives tells whether the text that starts here can have given the value.
func gives(here, ptr string, value any) bool {
	word := strings.Trim(strings.FieldsFunc(here+" ", func(r rune) bool { return strings.ContainsRune(" \n,]}:", r) })[0], `"'`)
	field := ptr[strings.LastIndex(ptr, "/")+1:]
	switch v := value.(type) {
	case bool:
		return strings.EqualFold(word, fmt.Sprint(v)) || word == "always" || word == "on_failure"
	case float64:
		if strings.HasSuffix(field, "_ms") {
			ms, ok := parseDuration(word)
			return ok && float64(ms) == v
		}
		if field == "isolation" {
			return strings.HasSuffix(word, fmt.Sprintf("S%g", v))
		}
		if m := sizeText.FindStringSubmatch(word); m != nil && strings.Contains(ptr, "/limits/") && m[2] != "" {
			number, _ := strconv.ParseFloat(m[1], 64)
			unit := map[string]float64{"G": 1e9, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]] // those that the examples have
			return number*unit == v
		}
		n, err := strconv.ParseFloat(word, 64)
		return err == nil && n == v
	case string:
		if field == "dir" {
			return path.Clean(word) == v
		}
		if ours, ok := outcome(word); ok && ours == v {
			return true
		}
		return startsText(here, v) || strings.EqualFold(word, v)
	}
	return false
}

var blockHeader = regexp.MustCompile(`^[|>][-+0-9]*\n`)

// startsText tells whether a scalar that starts here means the text, apart from blanks, quotes and escapes.
func startsText(here, text string) bool {
	bare := strings.NewReplacer(" ", "", "\n", "", "\t", "", "'", "", `"`, "", `\`, "").Replace
	here = blockHeader.ReplaceAllString(here, "")
	return strings.HasPrefix(bare(here), bare(strings.TrimPrefix(text, echoPrefix)))
}
