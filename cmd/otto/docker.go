package main

import (
	"context"
	"net"
	"os/exec"
	"time"
)

// dockerSocket is where the docker command looks for its server, as steps run it: without variables of this host.
const dockerSocket = "/var/run/docker.sock"

// dockerPatience is how long a server may take to answer that is on this very machine.
const dockerPatience = 300 * time.Millisecond

// localLabels are what the agent of this machine offers beyond what every agent finds out: a task that requires docker
// would else wait for an agent that nobody can add to a private server.
func localLabels(ctx context.Context) []string {
	if _, err := exec.LookPath("docker"); err != nil || !answers(ctx, dockerSocket) {
		return nil
	}
	return []string{"--label", "docker=true"}
}

// answers tells whether somebody listens at a socket, and lets us in.
func answers(ctx context.Context, socket string) bool {
	connection, err := (&net.Dialer{Timeout: dockerPatience}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = connection.Close()
	return true
}
