package agent

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proc is a process as /proc shows it.
type proc struct {
	pid, parent int
	zombie      bool
	started     uint64 // ticks since boot: with it, a pid names one process for ever
}

// processes reads the table of all processes. One that ends meanwhile is left out.
func processes() map[int]proc {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	all := make(map[int]proc, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			all[pid] = p
		}
	}
	return all
}

func readProc(pid int) (proc, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	// The name may contain anything, parentheses too: what counts begins after the last one.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return proc{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return proc{}, false
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	return proc{pid: pid, parent: parent, zombie: fields[0] == "Z" || fields[0] == "X", started: started}, err == nil
}

// descendants gives the living processes below those that isRoot accepts; the roots themselves are not among them.
func descendants(isRoot func(proc) bool) []proc {
	all := processes()
	below := map[int]bool{}
	var isBelow func(p proc, depth int) bool
	isBelow = func(p proc, depth int) bool {
		if known, ok := below[p.pid]; ok {
			return known
		}
		parent, ok := all[p.parent]
		// The depth guards against a circle, which a table read while pids are given again might show.
		answer := ok && depth < len(all) && (isRoot(parent) || isBelow(parent, depth+1))
		below[p.pid] = answer
		return answer
	}
	var out []proc
	for _, p := range all {
		if isBelow(p, 0) && !p.zombie {
			out = append(out, p)
		}
	}
	return out
}

func childrenOf(pid int) func(proc) bool {
	return func(p proc) bool { return p.pid == pid }
}

// send signals exactly this process, not one that has got its pid since.
func (p proc) send(signal unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); ok && now.started == p.started {
		_ = unix.PidfdSendSignal(fd, signal, nil, 0)
	}
}

// String is the pid and the start of the command line, made safe to print.
func (p proc) String() string {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
	if err != nil || len(line) == 0 {
		line, _ = os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/comm")
	}
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})), "?")))
	if short := []rune(text); len(short) > 60 {
		text = string(short[:60]) + "…"
	}
	return fmt.Sprintf("%d %s", p.pid, text)
}

// sweepLimit is how long a sweep tries; only a process stuck inside the kernel outlives it.
const sweepLimit = 10 * time.Second

// sweep kills what find finds until empty says that nothing is left. It stops all processes before it kills the first:
// a tree that forks as fast as it is killed would never be empty.
func sweep(find func() []proc, empty func() bool) {
	for deadline := time.Now().Add(sweepLimit); !empty() && time.Now().Before(deadline); {
		frozen := map[proc]bool{}
		for fresh := true; fresh; {
			fresh = false
			for _, p := range find() {
				if !frozen[p] {
					frozen[p], fresh = true, true
					p.send(unix.SIGSTOP)
				}
			}
		}
		for p := range frozen {
			p.send(unix.SIGKILL)
		}
		pause := time.Now().Add(10 * time.Millisecond)
		for !empty() && time.Now().Before(pause) {
			time.Sleep(time.Millisecond)
		}
	}
}
