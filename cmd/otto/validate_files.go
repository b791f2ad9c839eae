package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// stdinName is what diagnostics call standard input.
const stdinName = "stdin"

// files reads what the arguments stand for, each file once; without any, the Ottofile of the working directory.
func (v *validation) files(ctx context.Context, args []string) ([]*ottofile, error) {
	if len(args) == 0 {
		args = []string{"."}
	}
	var out []*ottofile
	seen := map[string]bool{}
	for _, arg := range args {
		found, err := v.filesOf(ctx, arg)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if !seen[f.path] {
				out = append(out, f)
			}
			seen[f.path] = true
		}
	}
	return out, nil
}

func (v *validation) filesOf(ctx context.Context, arg string) ([]*ottofile, error) {
	if arg == "-" {
		data, err := io.ReadAll(io.LimitReader(v.stdin, maxOttofile))
		if err != nil {
			return nil, fmt.Errorf("read standard input: %w", err)
		}
		return []*ottofile{{name: stdinName, path: stdinName, data: data}}, nil
	}
	if info, err := os.Stat(arg); err == nil && info.IsDir() {
		if name, err := ottofileIn(arg); err == nil && name == "" {
			if below, err := ottofilesBelow(arg); err != nil || len(below) > 0 {
				return below, errors.Join(err, v.fetchAll(ctx, below))
			}
		}
	}
	file, err := v.findOrPropose(ctx, []string{arg})
	if err != nil {
		return nil, err
	}
	if file.proposal != nil {
		return nil, withHint(fmt.Errorf("there is no Ottofile in %s", absolute(file.dir)), "otto init writes one for what is there")
	}
	return []*ottofile{file}, nil
}

// fetchAll gets what the templates of the files come from.
func (v *validation) fetchAll(ctx context.Context, files []*ottofile) error {
	for _, file := range files {
		if err := v.fetchTemplates(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// ottofilesBelow finds the Ottofile of each directory below one, in the order of their paths. Hidden directories and
// those of other people's packages are not looked into.
func ottofilesBelow(dir string) ([]*ottofile, error) {
	var out []*ottofile
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "vendor") {
			return fs.SkipDir
		}
		name, err := ottofileIn(path)
		if err != nil || name == "" {
			return err
		}
		file, err := readOttofile(path, name)
		out = append(out, file)
		return err
	})
	return out, err
}
