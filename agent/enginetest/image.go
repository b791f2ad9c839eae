//go:build linux

package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"
)

// busybox is the program that the images are made of: linked statically, it needs nothing else.
const busybox = "busybox"

// Busybox is the name of an image with a shell and the usual small programs.
const Busybox = "otto.test/busybox:1"

// images notes which images the engine has.
type images struct {
	mu   sync.Mutex
	made map[string]bool
}

// File is a file of an image.
type File struct {
	Name string // absolute
	Mode int64
	Body string
	Link string // what it is a symbolic link to, instead of a body
}

// Busybox makes the image of that name.
func (e *Engine) Busybox(t testing.TB) string {
	t.Helper()
	e.Image(t, Busybox, BusyboxFiles(t))
	return Busybox
}

// Image makes an image from files alone, unless the engine has one of that name. Changes are instructions of a
// Dockerfile, such as `USER 7`.
func (e *Engine) Image(t testing.TB, name string, files []File, changes ...string) {
	t.Helper()
	e.images.mu.Lock()
	defer e.images.mu.Unlock()
	if e.images.made[name] {
		return
	}
	answer, err := e.API.ImageImport(context.WithoutCancel(t.Context()), client.ImageImportSource{Source: Archive(t, files), SourceName: "-"}, name, client.ImageImportOptions{Changes: changes})
	if err != nil {
		t.Fatalf("enginetest: import %s: %v", name, err)
	}
	defer answer.Close()
	words, err := io.ReadAll(answer)
	if err != nil || bytes.Contains(words, []byte(`"error"`)) {
		t.Fatalf("enginetest: import %s: %v %s", name, err, words)
	}
	if e.images.made == nil {
		e.images.made = map[string]bool{}
	}
	e.images.made[name] = true
}

// BusyboxFiles is a small system.
func BusyboxFiles(t testing.TB) []File {
	t.Helper()
	path, err := exec.LookPath(busybox)
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	names, err := exec.CommandContext(t.Context(), path, "--list").Output()
	if err != nil {
		t.Fatalf("enginetest: list busybox: %v", err)
	}
	files := []File{
		{Name: "/bin/busybox", Mode: 0o755, Body: string(program)},
		{Name: "/etc/passwd", Mode: 0o644, Body: "root:x:0:0:root:/root:/bin/sh\nuser:x:7007:7007:user:/home/user:/bin/sh\n"},
		{Name: "/etc/group", Mode: 0o644, Body: "root:x:0:\nuser:x:7007:\n"},
		{Name: "/root/.keep", Mode: 0o644},
		{Name: "/home/user/.keep", Mode: 0o644},
	}
	for applet := range strings.FieldsSeq(string(names)) {
		if applet != busybox {
			files = append(files, File{Name: "/bin/" + applet, Link: "busybox"})
		}
	}
	return files
}

// Archive packs files into a tar.
func Archive(t testing.TB, files []File) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(h *tar.Header, body string) {
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("enginetest: %v", err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatalf("enginetest: %v", err)
		}
	}
	add(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp", Mode: 0o1777}, "")
	for _, f := range files {
		name := strings.TrimPrefix(f.Name, "/")
		if f.Link != "" {
			add(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: f.Link}, "")
			continue
		}
		add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: f.Mode, Size: int64(len(f.Body))}, f.Body)
	}
	if err := w.Close(); err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	return &out
}
