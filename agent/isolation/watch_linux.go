package isolation

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Watches says whether there are limits that somebody has to look after.
func (c *Cell) Watches() bool { return c.Watch.Memory > 0 || c.Watch.Processes > 0 }

// Wraps says whether what is started is not the program itself, but what makes its namespaces.
func (c *Cell) Wraps() bool { return c.Level >= S2 }

// Over says which limit these processes are over together, if any.
func (c *Cell) Over(pids []int) string {
	var memory int64
	var threads int
	for _, pid := range pids {
		m, t := usage(pid)
		memory, threads = memory+m, threads+t
	}
	switch {
	case c.Watch.Memory > 0 && memory > c.Watch.Memory:
		return BrokeMemory
	case c.Watch.Processes > 0 && threads > c.Watch.Processes:
		return BrokeProcesses
	}
	return ""
}

// usage gives the bytes that a process occupies for itself, and its threads. One that has ended has none.
func usage(pid int) (memory int64, threads int) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) > 17 {
		threads, _ = strconv.Atoi(fields[17])
	}
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, threads
	}
	// What is shared, such as the pages of a program, would count once for each process.
	if pages := strings.Fields(string(statm)); len(pages) > 2 {
		resident, _ := strconv.ParseInt(pages[1], 10, 64)
		shared, _ := strconv.ParseInt(pages[2], 10, 64)
		memory = (resident - shared) * int64(os.Getpagesize())
	}
	return memory, threads
}
