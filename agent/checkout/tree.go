package checkout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// measure refuses a commit with more in it than a workspace may hold, before anything of it is written: a few kilobytes of git
// objects can name billions of files.
func (s *Store) measure(ctx context.Context, g *git, commit string) error {
	m := &measurer{bytes: s.cfg.Bytes, entries: s.cfg.Entries}
	err := g.pipe(ctx, m, "ls-tree", "-r", "-l", "-z", "--full-tree", commit)
	if m.err != nil {
		return m.err
	}
	return err
}

// measurer adds up what ls-tree lists, and has enough once it is too much.
type measurer struct {
	bytes, sum     int64
	entries, count int
	rest           []byte // of an entry that is not whole yet
	err            error
}

// maxEntry bounds an entry of a tree: its head and its path, in bytes.
const maxEntry = 64 << 10

func (m *measurer) Write(p []byte) (int, error) {
	m.rest = append(m.rest, p...)
	for {
		entry, rest, whole := bytes.Cut(m.rest, []byte{0})
		if !whole {
			break
		}
		m.rest = rest
		if m.err = m.add(string(entry)); m.err != nil {
			return 0, m.err
		}
	}
	if len(m.rest) > maxEntry {
		m.err = errors.New("the commit has a path without end")
		return 0, m.err
	}
	m.rest = bytes.Clone(m.rest)
	return len(p), nil
}

// add counts an entry: "100644 blob <id> <size>\t<path>".
func (m *measurer) add(entry string) error {
	head, _, _ := strings.Cut(entry, "\t")
	if words := strings.Fields(head); len(words) == 4 {
		size, _ := strconv.ParseInt(words[3], 10, 64) // a submodule has none
		m.sum += size
	}
	m.count++
	switch {
	case m.entries > 0 && m.count > m.entries:
		return fmt.Errorf("the commit has more than the %d files that a workspace may have", m.entries)
	case m.bytes > 0 && m.sum > m.bytes:
		return fmt.Errorf("the files of the commit are larger than the %d bytes that a workspace may have", m.bytes)
	}
	return nil
}
