package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/conventions"
)

// ottofile is the pipeline definition that a verb works on.
type ottofile struct {
	dir  string // that holds it: the tree that runs
	name string // in dir
	path string // as a person would write it
	data []byte

	tree    pipeline.Tree                           // around it, once fetchTemplates has looked
	remotes map[pipeline.Remote]pipeline.RemoteFile // what it has fetched
	// proposal is what the file is made of if it is not there, but proposed by conventions.
	proposal *conventions.Proposal
}

// maxOttofile is beyond what the compiler accepts: it says so itself, once it has been given more.
const maxOttofile = 2 << 20

// smallestOttofile is the hint where nothing is there to go by.
const smallestOttofile = "write an Ottofile.yaml, such as:\n\n    name: hello\n    steps:\n      - sh: echo hello\n"

// findOttofile reads the file an argument names, or the one in the directory it names; none means the working directory.
func findOttofile(args []string) (*ottofile, error) {
	at := "."
	if len(args) > 0 {
		at = args[0]
	}
	info, err := os.Stat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist", at)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return readOttofile(filepath.Dir(at), filepath.Base(at))
	}
	name, err := ottofileIn(at)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, noOttofile(at)
	}
	return readOttofile(at, name)
}

func ottofileIn(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	name, _ := pipeline.FindOttofile(names)
	return name, nil
}

func readOttofile(dir, name string) (*ottofile, error) {
	path := filepath.Join(dir, name)
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxOttofile))
	if err != nil {
		return nil, err
	}
	return &ottofile{dir: dir, name: name, path: path, data: data}, nil
}

// missingOttofile says that neither a directory nor one above it has an Ottofile.
type missingOttofile struct {
	error
	dir string
}

func (m *missingOttofile) Unwrap() error { return m.error }

// noOttofile says where was looked, and what to do: go to the one above, or write one.
func noOttofile(dir string) error {
	at, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	missing := fmt.Errorf("there is no Ottofile in %s (looked for Ottofile.yaml, Ottofile.yml and Ottofile)", at)
	above := dir
	for up := filepath.Dir(at); ; up = filepath.Dir(up) {
		above = filepath.Join(above, "..")
		if name, err := ottofileIn(up); err == nil && name != "" {
			return withHint(missing, "there is one in %s: otto run %s", up, above)
		}
		if up == filepath.Dir(up) {
			return &missingOttofile{withHint(missing, smallestOttofile), dir}
		}
	}
}

// planGCPercent is how much garbage planning may make before it is collected: a third of planning a thousand tasks is collecting
// (GOGC 100 and 400, paired, user time), and hardly any of it lives on.
const planGCPercent = 400

// plan plans the file. Plans know it by its name in the tree, so that every machine gives the same digest;
// diagnostics name it as the person did, so that an editor finds it.
func (o *ottofile) plan(facts pipeline.Facts) (*pipeline.Plan, pipeline.Diagnostics) {
	defer debug.SetGCPercent(debug.SetGCPercent(planGCPercent))
	facts.Remotes = o.remotes
	plan, diagnostics := pipeline.Compile(o.file(), facts)
	return plan, o.named(diagnostics)
}

func (o *ottofile) file() pipeline.File { return pipeline.File{Name: o.name, Data: o.data} }

// facts are what templates need of them.
func (o *ottofile) facts() pipeline.Facts { return pipeline.Facts{Tree: o.tree, Remotes: o.remotes} }

// named calls files in diagnostics as the person would.
func (o *ottofile) named(diagnostics pipeline.Diagnostics) pipeline.Diagnostics {
	for i, d := range diagnostics {
		switch {
		case d.File == o.name:
			diagnostics[i].File = o.path
		case !strings.HasPrefix(d.File, "git+"):
			diagnostics[i].File = filepath.Join(o.dir, d.File)
		}
	}
	return diagnostics
}
