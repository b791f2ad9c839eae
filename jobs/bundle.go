package jobs

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/ottoci/otto/pipeline"
)

var errNoOttofile = errors.New("the source has no Ottofile")

const (
	maxOttofile      = 1<<20 + 1       // one byte more than the planner takes, so that it says so
	maxBundleEntries = 2_000_000       // of a bundle that is searched
	maxBundleBytes   = int64(16) << 30 // unpacked, likewise
)

// findOttofile reads the file of that name from a bundle (tar, gzip); without a name, the one that convention finds in
// the bundle's top folder.
func findOttofile(bundle io.Reader, name string) (pipeline.File, error) {
	found := map[string][]byte{}
	err := walkBundle(bundle, func(at string, file io.Reader) (err error) {
		if (name != "" && at != path.Clean(name)) || (name == "" && !byConvention(at)) {
			return nil
		}
		if found[at], err = io.ReadAll(io.LimitReader(file, maxOttofile)); err == nil && name != "" {
			err = io.EOF
		}
		return err
	})
	switch {
	case err != nil:
		return pipeline.File{}, err
	case name == "":
		return pickOttofile(found)
	case len(found) == 0:
		return pipeline.File{}, fmt.Errorf("%w: %s is not in it", errNoOttofile, name)
	}
	at := path.Clean(name)
	return pipeline.File{Name: at, Data: found[at]}, nil
}

func byConvention(name string) bool {
	_, ok := pipeline.FindOttofile([]string{name})
	return ok
}

func pickOttofile(found map[string][]byte) (pipeline.File, error) {
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	name, ok := pipeline.FindOttofile(names)
	if !ok {
		return pipeline.File{}, errNoOttofile
	}
	return pipeline.File{Name: name, Data: found[name]}, nil
}
