package jobs

import (
	"archive/tar"
	"compress/gzip"
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
	unzipped, err := gzip.NewReader(bundle)
	if err != nil {
		return pipeline.File{}, fmt.Errorf("unpack the source: %w", err)
	}
	files := tar.NewReader(io.LimitReader(unzipped, maxBundleBytes))
	found := map[string][]byte{}
	for range maxBundleEntries {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return pipeline.File{}, fmt.Errorf("unpack the source: %w", err)
		}
		at := path.Clean(head.Name)
		if head.Typeflag != tar.TypeReg || (name != "" && at != path.Clean(name)) || (name == "" && !byConvention(at)) {
			continue
		}
		if found[at], err = io.ReadAll(io.LimitReader(files, maxOttofile)); err != nil {
			return pipeline.File{}, fmt.Errorf("read %s from the source: %w", at, err)
		}
		if name != "" {
			return pipeline.File{Name: at, Data: found[at]}, nil
		}
	}
	if name != "" {
		return pipeline.File{}, fmt.Errorf("%w: %s is not in it", errNoOttofile, name)
	}
	return pickOttofile(found)
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
