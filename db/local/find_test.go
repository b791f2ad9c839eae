package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	t.Parallel()
	found, err := Find("")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Find(found.Dir); err != nil || again != found {
		t.Errorf("Find(%q) = %v, %v, want %v", found.Dir, again, err, found)
	}
	if same, err := findMajor("", found.Major); err != nil || same.Major != found.Major {
		t.Errorf("findMajor(%d) = %v, %v", found.Major, same, err)
	}
	if _, err := findMajor(found.Dir, found.Major+1); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("findMajor of the version after: %v", err)
	}
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	t.Run("an_old_server", func(t *testing.T) {
		t.Parallel()
		_, err := Find(programs(t, "postgres (PostgreSQL) 14.9"))
		if !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), "it is version 14, otto needs 15 or newer") {
			t.Errorf("Find: %v", err)
		}
	})
	t.Run("nothing_anywhere", func(t *testing.T) {
		t.Parallel()
		err := notFound(16, []string{"/b (version 13)", "/a (version 14)", "/b (version 13)"})
		want := "no PostgreSQL found of version 16 but /a (version 14), /b (version 13): " +
			"otto needs PostgreSQL 15 or newer, one of:\n    apt install postgresql\n"
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v\nwant %s…", err, want)
		}
	})
}

func TestFindFollowsLinks(t *testing.T) {
	t.Parallel()
	real, err := filepath.EvalSymlinks(programs(t, "postgres (PostgreSQL) 17beta1 (Debian)"))
	if err != nil {
		t.Fatal(err)
	}
	links := t.TempDir()
	if err := os.Symlink(filepath.Join(real, "postgres"), filepath.Join(links, "postgres")); err != nil {
		t.Fatal(err)
	}
	want := Binaries{Dir: real, Major: 17}
	if found, err := Find(links); err != nil || found != want {
		t.Errorf("Find = %v, %v, want %v", found, err, want)
	}
}

// programs makes a folder of programs that say their version.
func programs(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
