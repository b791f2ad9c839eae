package agent

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"
)

// BenchmarkStep says what a step costs beside the least that it could: the same program, started by a bare fork and exec.
// Compare cpu-ms/op, which counts the agent, the keepers and the step; ns/op depends on who else uses the machine.
func BenchmarkStep(b *testing.B) {
	argv := []string{"/bin/sh", "-c", "true"}
	b.Run("bare", func(b *testing.B) {
		defer reportCPU(b)()
		for b.Loop() {
			pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
			if err != nil {
				b.Fatal(err)
			}
			var status syscall.WaitStatus
			if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
				b.Fatal(err, status)
			}
		}
	})
	b.Run("kept", func(b *testing.B) {
		a, err := New(Config{URL: "http://127.0.0.1:1", Token: "t", WorkDir: b.TempDir(), Shared: true})
		if err != nil {
			b.Fatal(err)
		}
		defer reportCPU(b)()
		defer a.closeSpare() // what a process has used counts once it has ended
		a.prepareKeeper()
		for b.Loop() {
			p, err := a.start(b.Context(), job{Argv: argv, Dir: os.TempDir(), Env: os.Environ()}, func(context.Context, string, []byte) {})
			if err != nil {
				b.Fatal(err)
			}
			if <-p.ended; p.err != nil || p.ending.exitCode() != 0 {
				b.Fatal(p.err, p.ending)
			}
		}
	})
}

// reportCPU reports the CPU time from now until the function that it gives is called, of this process and of those that
// have ended below it.
func reportCPU(b *testing.B) func() {
	began := cpuTime(b)
	return func() {
		b.ReportMetric(float64(cpuTime(b)-began)/float64(time.Millisecond)/float64(b.N), "cpu-ms/op")
	}
}

func cpuTime(b *testing.B) (total time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if err := syscall.Getrusage(who, &usage); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return total
}
