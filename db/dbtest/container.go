package dbtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/postgres"
	"github.com/testcontainers/testcontainers-go/wait"
)

// defaultImage is used unless TEST_POSTGRES_IMAGE names another, for engines that cannot pull.
const defaultImage = "postgres:17"

// containerName is the container's database user, password and database.
const containerName = "otto"

// startContainer starts a server in a container. It is the last resort: a process's own server is up three times as
// fast. The container goes with this process.
func startContainer(ctx context.Context) (*server, error) {
	if err := adaptToEngine(ctx); err != nil {
		return nil, err
	}
	image := defaultImage
	if given := os.Getenv("TEST_POSTGRES_IMAGE"); given != "" {
		image = given
	}
	container, err := postgres.Run(ctx, image,
		testcontainers.WithCmdArgs("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off",
			"-c", "wal_level=minimal", "-c", "max_wal_senders=0", "-c", "max_connections=300", "-c", "autovacuum=off"),
		postgres.WithDatabase(containerName), postgres.WithUsername(containerName), postgres.WithPassword(containerName),
		testcontainers.WithWaitStrategy(wait.ForListeningPort("5432/tcp")))
	stop := func() {
		if err := testcontainers.TerminateContainer(container); err != nil {
			fmt.Fprintln(os.Stderr, "dbtest: remove the container:", err)
		}
	}
	if err != nil {
		stop()
		return nil, err
	}
	url, err := container.ConnectionString(ctx, "sslmode=disable")
	if err != nil {
		stop()
		return nil, err
	}
	alive, err := sweepContainer(container.GetContainerID())
	if err != nil {
		stop()
		return nil, err
	}
	return &server{url: url, own: true, stop: stop, alive: alive}, nil
}

// adaptToEngine answers for the environment what testcontainers would get wrong, and says whether an engine is there.
// Its own sweeper is an image that cannot always be pulled; where the engine's client is installed, we need none. And
// inside a container it would talk to the gateway instead of the engine's host.
func adaptToEngine(ctx context.Context) error {
	defaults := map[string]string{}
	if hasClient() {
		defaults["TESTCONTAINERS_RYUK_DISABLED"] = "true"
	}
	if _, err := os.Stat("/.dockerenv"); err == nil {
		defaults["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1"
	}
	for name, value := range defaults {
		if _, set := os.LookupEnv(name); set {
			continue
		}
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	provider, err := testcontainers.ProviderDocker.GetProvider()
	if err != nil {
		return err
	}
	defer provider.Close()
	return provider.Health(ctx)
}

func hasClient() bool {
	_, err := exec.LookPath("docker")
	return err == nil
}

// sweepContainer removes the container after our end.
func sweepContainer(id string) (io.Closer, error) {
	if !hasClient() {
		return nil, nil // testcontainers' own sweeper does it
	}
	return afterUs(`docker rm -f -v "$1" >/dev/null 2>&1`, id)
}
