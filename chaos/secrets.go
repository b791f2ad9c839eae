package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// secret is a token of Otto's. It belongs in the hands of whom it was made for, and nowhere else.
var secret = regexp.MustCompile(`otto_(user|agent|enrol)_[A-Za-z0-9]{8,}`)

// longestSecret is more than a token has bytes.
const longestSecret = 256

// leak is a writer that looks for a token in what passes.
type leak struct {
	found bool
	last  []byte // the end of what was written before: a token may be cut in two
}

func (l *leak) Write(p []byte) (int, error) {
	head := append(l.last, p[:min(len(p), longestSecret)]...)
	l.found = l.found || secret.Match(head) || secret.Match(p)
	if len(p) >= longestSecret {
		head = p
	}
	l.last = append([]byte{}, head[max(0, len(head)-longestSecret):]...)
	return len(p), nil
}

// judgeSecrets looks for tokens on all disks: in the database's files with its write-ahead log, in the object store, and in
// what agents keep of tasks. An agent's own credential lies beside its work.
func judgeSecrets(_ context.Context, f *fleet, r *report) error {
	for _, name := range append([]string{"postgres", "store"}, runners...) {
		err := filepath.WalkDir(filepath.Join(f.dir, name), func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && (!entry.Type().IsRegular() || entry.Name() == "credential.json") {
				return nil
			}
			if err != nil {
				return err
			}
			leaks, err := leaksIn(path)
			if leaks {
				r.broken("a token is nowhere but with its owner", path+" contains one")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// leaksIn says whether a file contains a token. A file that is gone does not.
func leaksIn(path string) (bool, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	var l leak
	_, err = io.Copy(&l, file)
	return l.found, err
}
