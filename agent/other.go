//go:build !linux

package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// The agent needs Linux: subreapers, /proc and pidfds are how it keeps a step's processes together.
var errNotLinux = errors.New("an agent runs on Linux only")

const keeperPatience = time.Second

// Keeper cannot work here.
func Keeper([]string) int {
	fmt.Fprintln(os.Stderr, "otto:", errNotLinux)
	return 1
}

type keepers struct{ adopt bool }

func (*keepers) start(*exec.Cmd) error    { return errNotLinux }
func (*keepers) ended(*exec.Cmd) []string { return nil }
func (*keepers) forget(*exec.Cmd)         {}

func ownProcess() error                       { return errNotLinux }
func keeperAttributes() *syscall.SysProcAttr  { return nil }
func wardenAttributes() *syscall.SysProcAttr  { return nil }
func socketPair() (*os.File, *os.File, error) { return nil, nil, errNotLinux }
func lockFile(*os.File) error                 { return errNotLinux }
func unlockFile(*os.File) error               { return errNotLinux }
func memoryBytes() int64                      { return 0 }
func punchHole(*os.File, int64)               {}
func signalName(n int) string                 { return fmt.Sprintf("signal %d", n) }
func pipeCapacity(*os.File) int               { return 0 }
func readNow(*os.File, []byte) int            { return 0 }
func (*attendant) wake()                      {}
func (*attendant) waits() bool                { return false }

func outputPipe() (*os.File, *os.File, error)             { return nil, nil, errNotLinux }
func sendFiles(*os.File, []byte, []*os.File) (int, error) { return 0, errNotLinux }
