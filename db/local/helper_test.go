//go:build linux

package local

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// startElsewhere starts a server in another process, this test binary again, and gives that process and the server's.
func startElsewhere(t *testing.T, cfg Config) (otto *exec.Cmd, postmaster int) {
	t.Helper()
	otto = exec.Command(os.Args[0])
	otto.Env = append(os.Environ(), "OTTO_LOCAL_TEST_DIR="+cfg.Dir, "OTTO_LOCAL_TEST_CACHE="+cfg.InitCache,
		"TMPDIR="+filepath.Dir(cfg.Dir)) // its socket's folder goes with the test's
	otto.Stderr = os.Stderr
	out, err := otto.StdoutPipe()
	must(t, err)
	must(t, otto.Start())
	t.Cleanup(func() { otto.Process.Kill(); otto.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	postmaster, err = strconv.Atoi(strings.TrimSpace(line))
	must(t, err)
	return otto, postmaster
}

// serveForParent is the other process: it starts a server, says its pid, and waits to be killed.
func serveForParent(dir string) {
	server, err := Start(context.Background(), Config{Dir: dir, InitCache: os.Getenv("OTTO_LOCAL_TEST_CACHE")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.Pid())
	<-server.Done()
	os.Exit(0)
}
