package store

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	longestKey  = 900 // bytes; S3 takes 1024, and a prefix may come before
	longestName = 255 // bytes between slashes; what file systems take
)

// checkKey admits keys that mean the same everywhere: relative paths without `.`, `..`, empty or hidden names, and
// without characters that a place would have to escape. Hidden names are the folder's own (folder.go).
func checkKey(key string) error {
	switch {
	case key == "" || len(key) > longestKey:
		return fmt.Errorf("%w: it has %d bytes, 1 to %d are allowed", ErrKey, len(key), longestKey)
	case !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) || strings.Contains(key, `\`):
		return fmt.Errorf("%w: %q contains a control character, a backslash, or bytes that are not UTF-8", ErrKey, key)
	case path.IsAbs(key) || path.Clean(key) != key:
		return fmt.Errorf("%w: %q is not a plain relative path", ErrKey, key)
	case strings.Contains(key, "__0x") || strings.HasSuffix(key, ".attrs"):
		return fmt.Errorf("%w: %q contains __0x or ends in .attrs, which the folder's format keeps for itself", ErrKey, key)
	}
	for name := range strings.SplitSeq(key, "/") {
		if strings.HasPrefix(name, ".") || len(name) > longestName {
			return fmt.Errorf("%w: %q has a name that begins with a dot or has more than %d bytes", ErrKey, key, longestName)
		}
	}
	return nil
}
