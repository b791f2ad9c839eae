package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets this program stand in for otto in the cells that tests make.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case RelayCommand:
			os.Exit(Relay(os.Args[2:]))
		case EscapeCommand:
			os.Exit(Escape(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

func testHost(t *testing.T) *Host {
	t.Helper()
	relay, err := LookRelay()
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(Settings{WorkDir: t.TempDir(), Name: fmt.Sprintf("test-%d", os.Getpid()), Path: os.Getenv("PATH"), Relay: relay})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestTry(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	for level := S1; level <= S3; level++ {
		if err := h.Try(t.Context(), level); err != nil {
			t.Errorf("%v: %v", level, err)
		}
	}
}

// An attempt that is told of more than its cell holds back says what got out: a probe that cannot fail proves nothing.
func TestTrySeesEscapes(t *testing.T) {
	t.Parallel()
	needRoot(t)
	h := testHost(t)
	dir := filepath.Join(h.WorkDir, "escape")
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	o, err := h.Cell(S1, dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	o.Relay = h.Settings.Relay[0]
	if err := o.user.Furnish(dir, "tmp"); err != nil {
		t.Fatal(err)
	}
	l, err := newLure(t.Context(), S3, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	err = h.escape(t.Context(), o, l)
	for _, want := range []string{"it is in the agent's pid namespace", "it reached the agent by TCP", "it reached the agent by MPTCP", "it reached an abstract socket",
		"it sent UDP to the agent", "it made a user namespace", "it has no way out to the proxy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not among: %v", want, err)
		}
	}
}

// X8: where the kernel or the machine lacks something, the report says so, and which levels hold is the truth.
func TestDoctorTellsTheTruth(t *testing.T) {
	t.Parallel()
	needRoot(t)
	h := testHost(t)
	if r := h.Doctor(t.Context()); r.Best != S3 || !r.Holds(S1) || !r.Holds(S2) || r.Holds(S4) {
		t.Errorf("with everything there: %+v", r)
	}
	h.bubble = ""
	if r := h.Doctor(t.Context()); r.Best != S1 || r.Levels[S2].Missing != errNoBubble.Error() || r.Levels[S3].Holds {
		t.Errorf("without bubblewrap: %+v", r)
	}
	h = testHost(t)
	h.Cgroups, h.noGroups = nil, errNoGroups
	if r := h.Doctor(t.Context()); r.Holds(S1) || r.Limits[0].Mechanism != "watched by the step's keeper" {
		t.Errorf("without cgroups: %+v", r)
	}
}

var errNoGroups = errors.New("there are none")

func TestEgress(t *testing.T) {
	t.Parallel()
	for address, open := range map[string]bool{
		"8.8.8.8:53": true, "[2606:4700::1111]:443": true,
		"127.0.0.1:80": false, "[::1]:80": false, "169.254.169.254:80": false, "10.1.2.3:443": false, "192.168.1.1:22": false, "172.16.0.1:1": false,
		"100.64.0.1:80": false, "0.0.0.0:80": false, "[::ffff:127.0.0.1]:80": false, "[::ffff:169.254.169.254]:80": false, "[fd00::1]:80": false,
		"[fe80::1]:80": false, "[64:ff9b::a9fe:a9fe]:80": false, "[2002:7f00:1::]:80": false, "224.0.0.1:80": false, "255.255.255.255:80": false,
	} {
		if err := judge(address); (err == nil) != open {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, bad := range []string{"", "a/b", "host:no-such-port", "host:https", "host:0", "*", "user@host"} {
		if _, err := NewEgress([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// needRoot skips what only root can arrange; CI is root.
func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("CI") == "true":
		t.Fatal("it needs root")
	default:
		t.Skip("it needs root")
	}
}
