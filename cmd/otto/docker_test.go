package main

import (
	"net"
	"path/filepath"
	"testing"
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	if answers(t.Context(), socket) {
		t.Error("nobody is there, and answers")
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if !answers(t.Context(), socket) {
		t.Error("somebody listens, and does not answer")
	}
}
