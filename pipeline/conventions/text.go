package conventions

import (
	"errors"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how long the name of a task or pipeline may be.
const maxName = 100

// isName tells whether a text can name a task or a pipeline. No project has a colon in its name, but "# otto: allow" has.
func isName(text string) bool {
	return text != "" && text == strings.TrimSpace(text) && utf8.RuneCountInString(text) <= maxName && printable(text) &&
		!strings.Contains(text, ":") && !hasExpr(text)
}

// isDir tells whether a path can stand behind "dir:".
func isDir(path string) bool {
	return utf8.ValidString(path) && !strings.ContainsAny(path, `:\`) && !strings.HasPrefix(path, "~") && !hasExpr(path) &&
		!strings.ContainsFunc(path, unicode.IsControl)
}

func hasExpr(text string) bool { return strings.Contains(text, "${{") }

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// shown is a path as it may stand in a comment and on a terminal: names of files must drive neither.
func shown(path string) string {
	if printable(path) && path == strings.TrimSpace(path) {
		return path
	}
	return strconv.QuoteToASCII(path)
}

// reason is an error without the path, which stands beside it.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	if text := err.Error(); printable(text) {
		return text
	}
	return strconv.QuoteToASCII(err.Error())
}

// bare matches what YAML takes for text, whatever stands around it.
var bare = regexp.MustCompile(`^([A-Za-z_]|\.{0,2}/|\.[A-Za-z_])[A-Za-z0-9 ./_@+=,:'()\[\]-]*$`)

// quote writes a text as YAML.
func quote(text string) string {
	switch strings.ToLower(text) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null", ".inf", ".nan":
		return `"` + text + `"`
	}
	if bare.MatchString(text) && !strings.Contains(text+" ", ": ") && !strings.HasSuffix(text, " ") {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			b.WriteString(`\u` + hex(r, 4))
		default:
			b.WriteString(`\U` + hex(r, 8))
		}
	}
	b.WriteByte('"')
	return b.String()
}

func hex(r rune, digits int) string {
	text := strconv.FormatInt(int64(r), 16)
	return strings.Repeat("0", max(0, digits-len(text))) + text
}

// tomlTable gives the lines of a table of a TOML file, and whether it is there. It reads lines, not values: that is enough
// to see what a file speaks about.
func tomlTable(text, name string) (body string, found bool) {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		bareLine, _, _ := strings.Cut(strings.TrimSpace(line), "#")
		bareLine = strings.TrimSpace(bareLine)
		if strings.HasPrefix(bareLine, "[") && strings.HasSuffix(bareLine, "]") && !strings.HasSuffix(bareLine, ",]") {
			inside = bareLine == "["+name+"]"
			found = found || inside
			continue
		}
		if inside {
			b.WriteString(line)
		}
	}
	return b.String(), found
}

// tomlString gives the value of a key that is a string on one line.
func tomlString(body, key string) string {
	for line := range strings.Lines(body) {
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(name) != key {
			continue
		}
		value = strings.TrimSpace(value)
		if len(value) > 1 && (value[0] == '"' || value[0] == '\'') {
			if inner, _, closed := strings.Cut(value[1:], value[:1]); closed {
				return inner
			}
		}
	}
	return ""
}

// tomlList gives the strings of a key that is a list of them.
func tomlList(body, key string) []string {
	m := regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(key) + `\s*=\s*\[([^\]]*)\]`).FindStringSubmatch(body)
	if m == nil {
		return nil
	}
	var out []string
	for _, q := range quotedText.FindAllStringSubmatch(m[1], -1) {
		out = append(out, q[1]+q[2])
	}
	return out
}

var quotedText = regexp.MustCompile(`"([^"\n]*)"|'([^'\n]*)'`)

// tomlHas tells whether a table has a key.
func tomlHas(body, key string) bool {
	for line := range strings.Lines(body) {
		if name, _, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == key {
			return true
		}
	}
	return false
}
