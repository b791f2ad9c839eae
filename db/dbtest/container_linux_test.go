package dbtest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent/enginetest"
	"github.com/ottoci/otto/db/local"
)

// Where there are no programs of Postgres but an engine, the server is in a container. Another process tries it: in the
// engine's network, where the container's port is, and blind to the programs of this host.
func TestServerInContainer(t *testing.T) {
	t.Parallel()
	engine := enginetest.Start(t)
	const image = "otto.test/postgres:1"
	engine.Image(t, image, postgresFiles(t), "USER user", `ENTRYPOINT ["/entrypoint"]`)
	cmd := exec.CommandContext(t.Context(), "nsenter", "--net="+engine.NetworkPath(), os.Args[0], "-test.run", "^(TestOpen|TestClock|TestEmpty)$", "-test.v")
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+engine.Host, "TEST_POSTGRES_IMAGE="+image, "OTTO_PG_BIN="+t.TempDir(), "TEST_DATABASE_URL=")
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "--- PASS: ") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), image) { // testcontainers tells what it makes
		t.Errorf("the server was not in a container:\n%s", out)
	}
	if left := engine.Left(t, "org.testcontainers=true"); len(left) > 0 {
		t.Errorf("the process left %v", left)
	}
}

// entrypoint does what that of the official image does, as far as it is needed.
const entrypoint = `#!/bin/sh
set -e
export PATH=BIN:/bin PGDATA=/tmp/data TZ=GMT
initdb -U "$POSTGRES_USER" -A trust --locale=C -E UTF8 -N >/dev/null
echo "host all all all trust" >>$PGDATA/pg_hba.conf
echo "create database \"$POSTGRES_DB\"" | postgres --single postgres >/dev/null
exec "$@" -c "listen_addresses=*" -c unix_socket_directories=/tmp
`

var library = regexp.MustCompile(`(/\S+) \(0x`)

// postgresFiles are busybox and the programs of Postgres of this host, with all they need.
func postgresFiles(t *testing.T) []enginetest.File {
	t.Helper()
	programs, err := local.Find("")
	must(t, err)
	files := append(enginetest.BusyboxFiles(t), enginetest.File{Name: "/entrypoint", Mode: 0o755, Body: strings.ReplaceAll(entrypoint, "BIN", programs.Dir)})
	add := func(path string) {
		body, err := os.ReadFile(path)
		must(t, err)
		files = append(files, enginetest.File{Name: path, Mode: 0o755, Body: string(body)})
	}
	needed := map[string]bool{}
	for _, name := range []string{"postgres", "initdb"} {
		path := filepath.Join(programs.Dir, name)
		add(path)
		out, err := exec.CommandContext(t.Context(), "ldd", path).Output()
		must(t, err)
		for _, found := range library.FindAllStringSubmatch(string(out), -1) {
			needed[found[1]] = true
		}
	}
	for path := range needed {
		add(path)
	}
	config := filepath.Join(programs.Dir, "pg_config")
	for _, where := range []string{"--sharedir", "--pkglibdir"} {
		out, err := exec.CommandContext(t.Context(), config, where).Output()
		must(t, err)
		must(t, filepath.WalkDir(strings.TrimSpace(string(out)), func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() && !strings.Contains(path, "llvmjit") && !strings.Contains(path, "/bitcode/") {
				add(path)
			}
			return err
		}))
	}
	for _, zone := range []string{"UTC", "GMT", "Etc/UTC"} {
		if path := "/usr/share/zoneinfo/" + zone; exists(path) {
			add(path)
		}
	}
	return files
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
