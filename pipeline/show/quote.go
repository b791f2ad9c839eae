package show

import (
	"fmt"
	"regexp"
	"strings"
)

// shellWords is the command that gets the script's file.
func shellWords(shell []string) string {
	if len(shell) == 0 {
		return "/bin/sh -e"
	}
	words := make([]string, len(shell))
	for i, word := range shell {
		words[i] = shellQuote(word)
	}
	return strings.Join(words, " ")
}

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=-]+$`)

// shellQuote writes text so that a shell reads it as it is.
func shellQuote(text string) string {
	if plainWord.MatchString(text) && !strings.HasPrefix(text, "=") {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// delimiter is a line that a script does not have.
func delimiter(script string) string {
	lines := map[string]bool{}
	for text := range strings.Lines(script) {
		lines[strings.TrimSuffix(text, "\n")] = true
	}
	mark := "OTTO"
	for n := 2; lines[mark]; n++ {
		mark = fmt.Sprintf("OTTO_%d", n)
	}
	return mark
}
