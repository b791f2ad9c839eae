package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// proc is what /proc says of a process.
type proc struct {
	parent       int
	own          time.Duration // CPU time, user and system
	withChildren time.Duration // and that of its children that have ended
}

// processes reads all there are. Those that end meanwhile are left out.
func processes() (map[int]proc, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]proc{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
			all[pid] = parseStat(stat)
		}
	}
	return all, nil
}

// parseStat reads proc(5). The name of the program may hold anything, so the fields begin after its last parenthesis.
func parseStat(stat []byte) proc {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return proc{}
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	own := number(11) + number(12)
	return proc{parent: number(1), own: time.Duration(own) * tick, withChildren: time.Duration(own+number(13)+number(14)) * tick}
}

// tree is the CPU time of a process and of everything it started.
func tree(all map[int]proc, root int) time.Duration {
	total := all[root].withChildren
	for pid, p := range all {
		if p.parent == root {
			total += tree(all, pid)
		}
	}
	return total
}

// memory is what a process holds, and the most it held since peakReset; in bytes.
func memory(pid int) (now, peak int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			peak = kb << 10
		}
	}
	return now, peak, nil
}

// peakReset makes the peak begin anew.
func peakReset(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
