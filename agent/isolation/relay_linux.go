package isolation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

// RelayCommand is the first argument of the process that brings a task its network. The program answers it with
// os.Exit(isolation.Relay(os.Args[2:])), before anything else.
const RelayCommand = "agent-relay"

const (
	// proxyName is the socket of the agent's proxy, in the task's directory.
	proxyName = "proxy"
	// relayAddress is where the task finds the proxy: on its own loopback, which nobody else has.
	relayAddress = "127.0.0.1:3128"
)

// Relay is the main function of a process in a task's own network: it passes on what connects to it to the agent's proxy, which
// is behind a socket in the file system, and runs the program in argv. It gives the program's exit status.
func Relay(argv []string) int {
	status, err := relay(context.Background(), argv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "otto:", err)
	}
	return status
}

func relay(ctx context.Context, argv []string) (int, error) {
	const cannot = 126 // as a shell says it
	if len(argv) == 0 {
		return cannot, errors.New("there is no program to run")
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", relayAddress)
	if errors.Is(err, syscall.EADDRINUSE) { // a program of the task, or a relay below a relay
		return cannot, fmt.Errorf("bring the task its network: %w", err)
	}
	if err != nil {
		return cannot, err
	}
	go pass(ctx, listener)
	// The program gets a signal by itself, as all of its processes do; this one ends after it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &ended):
		return cannot, err
	}
	if status := ended.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return ended.ExitCode(), nil
}

func pass(ctx context.Context, listener net.Listener) {
	var d net.Dialer
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			proxy, err := d.DialContext(ctx, "unix", filepath.Join(Home, proxyName))
			if err != nil {
				return
			}
			defer proxy.Close()
			splice(conn, proxy)
		}()
	}
}
