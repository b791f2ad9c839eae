package pipeline

import (
	"regexp"
	"slices"
	"strings"
)

// allowText is a comment that silences warnings and hints: "# otto: allow OTTO1213", several codes with commas, and
// behind them a reason for people. It counts for its line or, alone on a line, for the next one that is no comment.
var allowText = regexp.MustCompile(`(?:^|[ \t])#[ \t]*otto:[ \t]*allow\b(.*)$`)

var codeText = regexp.MustCompile(`^OTTO[0-9]{4}$`)

// allowedCodes are the codes that a line allows; ok tells whether it has such a comment.
func allowedCodes(line string) (codes []Code, ok bool) {
	if !strings.Contains(line, "allow") {
		return nil, false
	}
	m := allowText.FindStringSubmatch(line)
	if m == nil {
		return nil, false
	}
	for word := range strings.FieldsFuncSeq(m[1], func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }) {
		if !codeText.MatchString(word) {
			break
		}
		codes = append(codes, Code(word))
	}
	return codes, true
}

// allowedByLine finds the comments of a file. It does not ask whether one is a comment to YAML: in a script, it is one
// to the shell.
func allowedByLine(s *source) map[int][]Code {
	if !strings.Contains(s.text, "allow") {
		return nil
	}
	out := map[int][]Code{}
	var above []Code
	for i, line := range s.lines {
		codes, _ := allowedCodes(line)
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			above = append(above, codes...)
			continue
		}
		if codes = append(codes, above...); len(codes) > 0 {
			out[i+1] = codes
		}
		above = nil
	}
	return out
}

// allows tells whether the file silences a problem of a line. An error cannot be silenced: there is no plan to go on with.
func (s *source) allows(code Code, line int) bool {
	return len(s.allowed) > 0 && code.severity() != SeverityError && slices.Contains(s.allowed[line], code)
}

// uselessAllows notes the comments that silence nothing, because they name no warning or hint.
func (l *linter) uselessAllows() {
	if !strings.Contains(l.src.text, "allow") {
		return
	}
	known := Codes()
	for i, line := range l.src.lines {
		codes, ok := allowedCodes(line)
		if !ok {
			continue
		}
		start := allowText.FindStringIndex(line)[0]
		start += strings.IndexByte(line[start:], '#')
		at := span{line: i + 1, column: len([]rune(line[:start])) + 1, width: len([]rune(strings.TrimSpace(line[start:])))}
		if len(codes) == 0 {
			l.add(uselessAllow, at, "the comment names no code").Suggestion = "write  # otto: allow CODE  with the code of a warning or hint"
		}
		for _, c := range codes {
			switch {
			case !slices.ContainsFunc(known, func(k CodeInfo) bool { return k.Code == c }):
				l.add(uselessAllow, at, "there is no code %s", c).Suggestion = "otto validate prints the codes of warnings and hints"
			case c.severity() == SeverityError:
				l.add(uselessAllow, at, "%s is an error, and cannot be allowed", c).Suggestion = "only warnings and hints can"
			}
		}
	}
}
