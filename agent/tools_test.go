package agent

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestVersionIn(t *testing.T) {
	t.Parallel()
	for talk, want := range map[string]string{
		"git version 2.39.5": "2.39.5", "go version go1.26.8 linux/amd64": "1.26.8", "v22.11.0\n": "22.11.0", "Python 3.13.0rc1": "3.13.0rc1",
		"openjdk version \"17.0.9\" 2023-10-17": "17.0.9", "openjdk version \"21\" 2023-09-19": "21", "openjdk version \"22-ea\" 2024": "22",
		"GNU Make 4.3\nBuilt for x86_64-pc-linux-gnu": "4.3", "no version here": "",
	} {
		if got := versionIn(talk); got != want {
			t.Errorf("%q has version %q, want %q", talk, got, want)
		}
	}
}

// Tools are asked once: as long as their files do not change, neither do their versions, across starts.
func TestToolsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	write := func(name, body string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil { //nolint:gosec // it is to run
			t.Fatal(err)
		}
	}
	write("good", "echo x >> "+asked+"; [ -z \"$SECRET\" ] && echo good 1.2.3")
	write("mute", "exit 3")
	list := []Tool{{"good", nil}, {"mute", nil}, {"absent", nil}}
	forget := func(*exec.Cmd) {}
	path := filepath.Join(dir, "tools.json")
	look := func(changed bool, want map[string]any) {
		t.Helper()
		tools := openTools(path, dir+":/usr/bin:/bin")
		if got := tools.look(context.WithoutCancel(t.Context()), list, (*exec.Cmd).Start, forget); got != changed {
			t.Errorf("news: %v, want %v", got, changed)
		}
		if got := tools.offers(); !maps.Equal(got, want) {
			t.Errorf("offers %v, want %v", got, want)
		}
		if err := tools.keep(); err != nil {
			t.Fatal(err)
		}
	}
	look(true, map[string]any{"good": "1.2.3"})
	look(false, map[string]any{"good": "1.2.3"})
	if body, err := os.ReadFile(asked); err != nil || len(body) != 2 {
		t.Errorf("asked %q, %v", body, err)
	}
	write("good", "echo good "+fmt.Sprint("1.2.4", " of a longer file"))
	look(true, map[string]any{"good": "1.2.4"})
	write("good", "sleep 1000 & echo good 1.2.5; exit 0; # a child that holds the output")
	look(true, map[string]any{"good": "1.2.5"})
}
