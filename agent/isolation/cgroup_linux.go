package isolation

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cgroups makes groups of processes: one for each task, killed as one. Where the kernel lets it, a group has limits.
type Cgroups struct {
	kill     string            // the directory of the v2 tree in which groups are made; empty if there is none
	unified  []string          // controllers that work there
	separate map[string]string // controllers of the v1 trees, by name, and the directory of each in which groups are made
}

// The controllers that limit a task.
const (
	memoryController = "memory"
	pidsController   = "pids"
	cpuController    = "cpu"
)

func controllers() []string { return []string{memoryController, pidsController, cpuController} }

// cgroupMount is a mounted tree: v2 if it has no controllers of its own.
type cgroupMount struct {
	at          string
	controllers []string
}

// OpenCgroups finds the trees of this machine that let themselves be written, and makes a directory called name in each.
// A machine without any answers an error which says what is missing.
func OpenCgroups(name string) (*Cgroups, error) {
	mounts, err := cgroupMounts("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := ownGroups("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	c := &Cgroups{separate: map[string]string{}}
	var reasons []error
	for _, m := range mounts {
		if m.controllers == nil {
			reasons = append(reasons, c.openUnified(m.at, own[""], name))
			continue
		}
		for _, controller := range controllers() {
			if !slices.Contains(m.controllers, controller) {
				continue
			}
			// Below our own group, so that what bounds us bounds the tasks; within a container that path may lead nowhere.
			for _, base := range []string{filepath.Join(m.at, own[controller]), m.at} {
				if dir := filepath.Join(base, "otto", name); os.MkdirAll(dir, 0o755) == nil {
					c.separate[controller] = dir
					break
				}
			}
		}
	}
	if c.kill == "" {
		return nil, errors.Join(append(reasons, errors.New("no cgroup v2 tree can be written here"))...)
	}
	return c, nil
}

// openUnified makes the directory for groups in a v2 tree, and gives it the controllers that there are to give. A group with
// processes can give none to those below it, so in a group that is ours alone we move into a leaf first.
func (c *Cgroups) openUnified(mount, own, name string) error {
	bases := []string{mount}
	if at := filepath.Join(mount, own); own != "/" && alone(at) {
		bases = []string{at, mount}
	}
	var reasons []error
	for _, base := range bases {
		if err := c.openBase(mount, base, name); err != nil {
			reasons = append(reasons, err)
			continue
		}
		return nil
	}
	return errors.Join(reasons...)
}

func (c *Cgroups) openBase(mount, base, name string) error {
	if base != mount {
		leaf := filepath.Join(base, "otto-agent")
		if err := os.MkdirAll(leaf, 0o755); err != nil {
			return err
		}
		if err := write(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	dir := filepath.Join(base, "otto", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err != nil {
		return fmt.Errorf("cgroup.kill, of Linux 5.14: %w", err)
	}
	offered, _ := os.ReadFile(filepath.Join(base, "cgroup.controllers"))
	var given []string
	for _, controller := range controllers() {
		if !slices.Contains(strings.Fields(string(offered)), controller) {
			continue
		}
		down := error(nil)
		for _, at := range []string{base, filepath.Join(base, "otto"), dir} {
			down = errors.Join(down, write(filepath.Join(at, "cgroup.subtree_control"), "+"+controller))
		}
		if down == nil {
			given = append(given, controller)
		}
	}
	c.kill, c.unified = dir, given
	return nil
}

// alone says whether this process is the only one of a group.
func alone(dir string) bool {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err == nil && strings.TrimSpace(string(procs)) == strconv.Itoa(os.Getpid())
}

// Mechanism says in words what bounds each thing on this machine.
func (c *Cgroups) Mechanism(controller string) string {
	switch {
	case c == nil:
		return ""
	case slices.Contains(c.unified, controller):
		return "cgroup v2"
	case c.separate[controller] != "":
		return "cgroup v1"
	}
	return ""
}

// Group is the processes of one task. It travels to the keeper that starts them.
type Group struct {
	Dir      string            `json:"dir"` // of the v2 tree
	Separate map[string]string `json:"separate,omitempty"`
	Unified  bool              `json:"unified,omitempty"` // Dir also has the limits that Separate has not
}

// Make makes a group with these limits. Those that no controller bounds are for somebody else to watch: see Watched.
func (c *Cgroups) Make(name string, limits Limits) (_ *Group, err error) {
	g := &Group{Dir: filepath.Join(c.kill, name), Unified: len(c.unified) > 0}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Remove())
		}
	}()
	if err := os.Mkdir(g.Dir, 0o755); err != nil {
		return g, fmt.Errorf("make a cgroup: %w", err)
	}
	for controller, value := range map[string]float64{memoryController: float64(limits.Memory), pidsController: float64(limits.Processes), cpuController: limits.CPU} {
		if value == 0 {
			continue
		}
		if slices.Contains(c.unified, controller) {
			if err := limitUnified(g.Dir, controller, limits); err != nil {
				return g, err
			}
			continue
		}
		base := c.separate[controller]
		if base == "" {
			continue
		}
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return g, fmt.Errorf("make a cgroup: %w", err)
		}
		if g.Separate == nil {
			g.Separate = map[string]string{}
		}
		g.Separate[controller] = dir
		if err := limitSeparate(dir, controller, limits); err != nil {
			return g, err
		}
	}
	return g, nil
}

// cpuPeriod is the span, in microseconds, within which a group may use its share of the cores; the kernel's own choice.
const cpuPeriod = 100_000

func limitUnified(dir, controller string, limits Limits) error {
	switch controller {
	case memoryController:
		// Without swap, which would only make the end slow. A kernel without swap accounting has no such file.
		if err := write(filepath.Join(dir, "memory.swap.max"), "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The whole task ends, not one process of it, whose parent would then fail for no visible reason.
		if err := write(filepath.Join(dir, "memory.oom.group"), "1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return write(filepath.Join(dir, "memory.max"), strconv.FormatInt(limits.Memory, 10))
	case pidsController:
		return write(filepath.Join(dir, "pids.max"), strconv.Itoa(limits.Processes))
	}
	return write(filepath.Join(dir, "cpu.max"), fmt.Sprintf("%d %d", int64(limits.CPU*cpuPeriod), cpuPeriod))
}

func limitSeparate(dir, controller string, limits Limits) error {
	switch controller {
	case memoryController:
		if err := write(filepath.Join(dir, "memory.limit_in_bytes"), strconv.FormatInt(limits.Memory, 10)); err != nil {
			return err
		}
		err := write(filepath.Join(dir, "memory.memsw.limit_in_bytes"), strconv.FormatInt(limits.Memory, 10))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // no accounting of swap
		}
		return err
	case pidsController:
		return write(filepath.Join(dir, "pids.max"), strconv.Itoa(limits.Processes))
	}
	return errors.Join(write(filepath.Join(dir, "cpu.cfs_period_us"), strconv.Itoa(cpuPeriod)),
		write(filepath.Join(dir, "cpu.cfs_quota_us"), strconv.FormatInt(int64(limits.CPU*cpuPeriod), 10)))
}

// Kill ends every process of the group at once, whatever it forks meanwhile.
func (g *Group) Kill() error { return write(filepath.Join(g.Dir, "cgroup.kill"), "1") }

// Empty says whether no process of the group is left.
func (g *Group) Empty() (bool, error) {
	events, err := os.ReadFile(filepath.Join(g.Dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return !strings.Contains(string(events), "populated 1"), err
}

// emptyLimit is how long a killed group may take to be empty; only a process stuck inside the kernel takes longer.
const emptyLimit = 10 * time.Second

// End kills the group and waits until it is empty.
func (g *Group) End() error {
	for deadline := time.Now().Add(emptyLimit); ; time.Sleep(time.Millisecond) {
		empty, err := g.Empty()
		if err != nil || empty {
			return err
		}
		if err := g.Kill(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("kill a cgroup: %w", err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes in %s cannot be killed", g.Dir)
		}
	}
}

// Remove ends the group and takes it away.
func (g *Group) Remove() error {
	err := g.End()
	for _, dir := range g.dirs() {
		err = errors.Join(err, removeGroup(dir))
	}
	return err
}

func (g *Group) dirs() []string {
	out := []string{g.Dir}
	for _, dir := range g.Separate {
		out = append(out, dir)
	}
	return out
}

// removeGroup removes a group and those that its processes have made in it. The kernel lets go of an ended process a moment
// after its parent has seen the end.
func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if entry.IsDir() {
			err = errors.Join(err, removeGroup(filepath.Join(dir, entry.Name())))
		}
	}
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(emptyLimit); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			return fmt.Errorf("remove the cgroup %s: %w", dir, err)
		}
	}
}

// Sweep ends and removes all groups, which a dead agent has left, and says which those were.
func (c *Cgroups) Sweep() (swept []string, err error) {
	dirs := []string{c.kill}
	for _, dir := range c.separate {
		dirs = append(dirs, dir)
	}
	for _, base := range dirs { // the first is the tree that kills
		entries, readErr := os.ReadDir(base)
		err = errors.Join(err, readErr)
		for _, entry := range entries {
			if !entry.IsDir() {
				continue
			}
			g := &Group{Dir: filepath.Join(base, entry.Name())}
			if base == c.kill {
				err = errors.Join(err, g.End())
				swept = append(swept, entry.Name())
			}
			err = errors.Join(err, removeGroup(g.Dir))
		}
	}
	return swept, err
}

// Close removes the directories that groups were made in, if nothing is in them.
func (c *Cgroups) Close() {
	dirs := []string{c.kill}
	for _, dir := range c.separate {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		_, _ = unix.Rmdir(dir), unix.Rmdir(filepath.Dir(dir)) // the second is shared with other agents, and then not empty
	}
}

// counts are how often each limit of a group was hit.
type counts struct{ memory, processes int64 }

// hits reads them. What has no limit has no counter.
func (g *Group) hits() (c counts) {
	if g == nil {
		return c
	}
	c.memory = counter(filepath.Join(g.Dir, "memory.events"), "oom_kill")
	c.processes = counter(filepath.Join(g.Dir, "pids.events"), "max")
	if dir := g.Separate[memoryController]; dir != "" {
		c.memory = counter(filepath.Join(dir, "memory.oom_control"), "oom_kill")
	}
	if dir := g.Separate[pidsController]; dir != "" {
		c.processes = counter(filepath.Join(dir, "pids.events"), "max")
	}
	return c
}

// counter reads a line "name number" of a file.
func counter(path, name string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, _ := strconv.ParseInt(value, 10, 64)
			return n
		}
	}
	return 0
}

func cgroupMounts(path string) (out []cgroupMount, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("look for cgroups: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup2":
			out = append(out, cgroupMount{at: place[4]})
		case "cgroup":
			out = append(out, cgroupMount{at: place[4], controllers: strings.Split(kind[2], ",")})
		}
	}
	return out, lines.Err()
}

// ownGroups gives the paths of our groups, by controller; that of the v2 tree has the empty name.
func ownGroups(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("look for our own cgroup: %w", err)
	}
	out := map[string]string{"": "/"}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			out[controller] = parts[2]
		}
	}
	return out, nil
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
