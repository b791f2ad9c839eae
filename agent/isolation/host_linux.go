package isolation

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Settings are what a machine's isolation is made with.
type Settings struct {
	WorkDir   string   // of the agent, and its own; tasks find nothing there but what is theirs
	Name      string   // of the agent's groups of processes: another one for each agent of a machine
	FirstUser int      // FirstUser if 0
	Path      string   // where bubblewrap is looked for; a list, as in $PATH
	Relay     []string // the program that answers RelayCommand and EscapeCommand; an absolute path
	Hide      []string // directories besides WorkDir in which tasks have no business
	Allow     []string // what S3 lets be reached besides the public internet
}

// Host is this machine, as far as it can isolate tasks.
type Host struct {
	Settings
	Cgroups  *Cgroups // nil if it has none
	noGroups error
	bubble   string
	egress   *Egress
}

// Open looks for what the machine has. What it lacks is no error: a level that needs it does not hold.
func Open(s Settings) (*Host, error) {
	// What this process inherited itself is not for those that it starts. An old kernel leaves that to who started it.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	h := &Host{Settings: s}
	if h.FirstUser == 0 {
		h.FirstUser = FirstUser
	}
	var err error
	if h.egress, err = NewEgress(s.Allow); err != nil {
		return nil, err
	}
	h.Cgroups, h.noGroups = OpenCgroups(s.Name)
	for _, dir := range filepath.SplitList(s.Path) {
		if at := filepath.Join(dir, "bwrap"); unix.Access(at, unix.X_OK) == nil && filepath.IsAbs(at) {
			h.bubble = at
			break
		}
	}
	return h, nil
}

// Close takes back what Open has made.
func (h *Host) Close() {
	if h.Cgroups != nil {
		h.Cgroups.Close()
	}
}

// Cell makes the place for one task at a level. The task's directory has to be there, with what belongs to the task by name.
// Close must be called, whatever became of it.
func (h *Host) Cell(level Level, dir string, limits Limits) (o *Occupied, err error) {
	o = &Occupied{Cell: Cell{Level: level, Task: dir, Bubble: h.bubble, Hide: append([]string{h.WorkDir}, h.Hide...), Limits: limits}}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.Close())
		}
	}()
	if level >= S2 && h.bubble == "" {
		return o, errNoBubble
	}
	if level >= S1 && h.users() == nil {
		if err := Prepare(); err != nil {
			return o, err
		}
		if o.user, err = TakeUser(h.FirstUser); err != nil {
			return o, err
		}
		o.UID = o.user.ID
	}
	if err := o.group(h, filepath.Base(dir)); err != nil {
		return o, err
	}
	if level >= S3 {
		o.Relay = h.Settings.Relay[0]
		if o.proxy, err = ListenEgress(dir, o.UID); err != nil {
			return o, err
		}
		o.serving.Go(func() { o.failed = h.egress.Serve(o.proxy) })
	}
	return o, nil
}

// Bare is a cell of S0 on a machine of which nothing is known: its limits are watched.
func Bare(dir string, limits Limits) *Occupied {
	return &Occupied{Cell: Cell{Task: dir, Limits: limits, Watch: limits}}
}

// group makes the group of the task's processes, and notes what it does not bound.
func (o *Occupied) group(h *Host, name string) (err error) {
	o.Watch = o.Limits
	if h.Cgroups == nil {
		if o.Level == S1 {
			return h.noGroups
		}
		return nil
	}
	if o.Group, err = h.Cgroups.Make(name, o.Limits); err != nil {
		return err
	}
	for controller, value := range map[string]func(){
		memoryController: func() { o.Watch.Memory = 0 }, pidsController: func() { o.Watch.Processes = 0 }, cpuController: func() { o.Watch.CPU = 0 },
	} {
		if h.Cgroups.Mechanism(controller) != "" {
			value()
		}
	}
	return nil
}

// Occupied is a cell and what the agent keeps for it.
type Occupied struct {
	Cell
	user    *User
	proxy   net.Listener
	serving sync.WaitGroup
	failed  error
}

// User is whom the task's files belong to; nil if that is the agent itself.
func (o *Occupied) User() *User { return o.user }

// Close ends whatever runs in the cell and gives back what it took. When it returns without an error, nothing of the task runs.
func (o *Occupied) Close() error {
	err := o.End()
	if o.proxy != nil {
		_ = o.proxy.Close()
		o.serving.Wait()
		err = errors.Join(err, o.failed)
	}
	if o.user != nil {
		if err == nil {
			o.user.Release()
		} // else it stays taken: what could not be ended must not meet the next task
		o.user = nil
	}
	return err
}

// Environment is what a task of this cell has to know of the place where it runs.
func (o *Occupied) Environment() map[string]string {
	env := map[string]string{}
	if o.Level >= S1 {
		env["HOME"], env["TMPDIR"] = filepath.Join(Home, "home"), "/tmp"
		env["USER"], env["LOGNAME"] = "otto-task", "otto-task"
	}
	if o.Level >= S3 {
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
			env[name], env[strings.ToLower(name)] = "http://"+relayAddress, "http://"+relayAddress
		}
		env["NO_PROXY"], env["no_proxy"] = "localhost,127.0.0.1,::1", "localhost,127.0.0.1,::1"
	}
	return env
}

var (
	errNoBubble = errors.New("bubblewrap (bwrap) is not on the agent's PATH")
	errNoUsers  = errors.New("the agent is root in a user namespace that has no users to give to tasks")
	errNotRoot  = errors.New("the agent is not root, so it can give tasks no user of their own")
)

// users says why tasks can have no user of their own; nil if they can.
func (h *Host) users() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	mapped, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("look for users: %w", err)
	}
	for line := range strings.Lines(string(mapped)) {
		var first, outside, count int64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil {
			return fmt.Errorf("look for users: %w", err)
		}
		if int64(h.FirstUser) >= first && int64(h.FirstUser)+userCount <= first+count {
			return nil
		}
	}
	return errNoUsers
}

// Try tries to escape from a cell of this level, and answers an error unless everything was held back.
func (h *Host) Try(ctx context.Context, level Level) (err error) {
	if err := h.users(); level == S1 && err != nil {
		return err
	}
	dir := filepath.Join(h.WorkDir, "escape-"+strings.ToLower(rand.Text()))
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o, err := h.Cell(level, dir, Limits{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	o.Relay = h.Settings.Relay[0]
	if o.user != nil {
		if err := o.user.Furnish(dir, "tmp"); err != nil {
			return err
		}
	}
	l, err := newLure(ctx, level, dir)
	if err != nil {
		return err
	}
	defer l.close()
	return h.escape(ctx, o, l)
}

// escapeLimit is how long trying may take; it takes a fraction of a second.
const escapeLimit = 30 * time.Second

// escape runs the program that tries, and looks at what it did.
func (h *Host) escape(ctx context.Context, o *Occupied, l *lure) error {
	told, err := json.Marshal(l.bait)
	if err != nil {
		return err
	}
	words, mouth, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer words.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return errors.Join(err, mouth.Close())
	}
	defer nothing.Close()
	argv := append([]string{relayPlace}, h.Settings.Relay[1:]...)
	if o.Level == S0 {
		argv[0] = h.Settings.Relay[0]
	}
	program := Program{
		Argv: append(argv, EscapeCommand, string(told)), Dir: "/", Env: []string{"PATH=" + h.Path},
		Files: []uintptr{nothing.Fd(), mouth.Fd(), mouth.Fd()},
	}
	s, err := o.Start(program)
	if err := errors.Join(err, mouth.Close()); err != nil {
		return err
	}
	deadline := time.AfterFunc(escapeLimit, func() { _ = unix.Kill(s.Pid, unix.SIGKILL) })
	stopped := context.AfterFunc(ctx, func() { _ = unix.Kill(s.Pid, unix.SIGKILL) })
	status := waitFor(s)
	s.Release()
	deadline.Stop()
	stopped()
	if err := o.End(); err != nil { // what it left holds the pipe open
		return err
	}
	said, err := readAll(words)
	if err != nil {
		return err
	}
	return l.judge(said, status)
}

// waitFor waits for a program and gives its exit status.
func waitFor(s *Started) (status unix.WaitStatus) {
	if s.PidFD >= 0 {
		defer unix.Close(s.PidFD)
	}
	for {
		if _, err := unix.Wait4(s.Pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			return status
		}
	}
}

// readAll reads what was said, though something may still have the other end.
func readAll(words *os.File) (string, error) {
	var out bytes.Buffer
	if err := words.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	_, err := out.ReadFrom(words)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errors.New("what it left running outlived it")
	}
	return out.String(), err
}

// LookRelay is the argv of this program for RelayCommand and EscapeCommand.
func LookRelay() ([]string, error) {
	at, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if at, err = exec.LookPath(at); err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return []string{at}, nil
}
