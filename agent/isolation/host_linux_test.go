package isolation

import (
	"fmt"
	"os"
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
