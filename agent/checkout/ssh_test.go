package checkout_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/ottoci/otto/agent/checkout"
)

// sshHost is a real sshd on a port of its own: each connection has an sshd for itself, as inetd would start it.
type sshHost struct {
	addr       string
	key, known string // files, for the agent
	dir        string
}

func newSSH(t *testing.T) *sshHost {
	t.Helper()
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		sshd = need(t, "sshd")
	}
	need(t, "ssh")
	if os.Geteuid() == 0 { // where sshd goes to be without privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h := &sshHost{dir: t.TempDir()}
	h.key = filepath.Join(h.dir, "key")
	user := newKey(t, h.key)
	host := newKey(t, filepath.Join(h.dir, "host"))
	write(t, filepath.Join(h.dir, "authorized"), string(ssh.MarshalAuthorizedKey(user)))
	config := filepath.Join(h.dir, "sshd_config")
	write(t, config, fmt.Sprintf("HostKey %s/host\nAuthorizedKeysFile %s/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n", h.dir, h.dir))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	h.addr = listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				cmd := exec.Command(sshd, "-i", "-e", "-f", config)
				in, err := cmd.StdinPipe()
				if err != nil {
					return
				}
				cmd.Stdout = conn
				go func() {
					_, _ = io.Copy(in, conn)
					_ = in.Close()
				}()
				_ = cmd.Run()
			}()
		}
	}()
	h.known = filepath.Join(h.dir, "known_hosts")
	write(t, h.known, fmt.Sprintf("[127.0.0.1]:%s %s", h.port(), ssh.MarshalAuthorizedKey(host)))
	return h
}

func (h *sshHost) port() string {
	_, port, _ := strings.Cut(h.addr, ":")
	return port
}

// newKey writes a private key, and gives the public one.
func newKey(t *testing.T, path string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "canary-comment")
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (h *sshHost) url(t *testing.T, dir string) string {
	t.Helper()
	name := "root"
	if out, err := exec.Command("id", "-un").Output(); err == nil {
		name = strings.TrimSpace(string(out))
	}
	return "ssh://" + name + "@" + h.addr + dir
}

func TestPrivateRepositoryBySSH(t *testing.T) {
	t.Parallel()
	h := newSSH(t)
	origin := newRepo(t)
	head := origin.commit("f", "1")
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 20), "mirrors") // longer than the name of a socket may be
	s := open(t, checkout.Config{Dir: dir, SSHKey: h.key, KnownHosts: h.known})
	r := request(t, h.url(t, origin.dir), head)
	must(t, s, r)
	if got := read(t, filepath.Join(r.Into, "f")); got != "1" {
		t.Errorf("got %q", got)
	}
	body := strings.Split(read(t, h.key), "\n")[2]
	for _, tree := range []string{dir, r.Into} {
		lacks(t, tree, body)
	}

	refused(t, open(t, checkout.Config{SSHKey: h.key}), request(t, h.url(t, origin.dir), head), "--git-known-hosts")
	refused(t, open(t, checkout.Config{KnownHosts: h.known}), request(t, h.url(t, origin.dir), head), "--git-ssh-key")
	stranger := filepath.Join(t.TempDir(), "stranger")
	newKey(t, stranger)
	refused(t, open(t, checkout.Config{SSHKey: stranger, KnownHosts: h.known}), request(t, h.url(t, origin.dir), head), "Permission denied")
}

// A host that is not known, or has another key than is known, gets no signature of the agent's key.
func TestHostThatIsAnother(t *testing.T) {
	t.Parallel()
	h := newSSH(t)
	origin := newRepo(t)
	head := origin.commit("f", "1")
	none := filepath.Join(t.TempDir(), "none")
	write(t, none, "")
	refused(t, open(t, checkout.Config{SSHKey: h.key, KnownHosts: none}), request(t, h.url(t, origin.dir), head), "Host key verification failed")
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, fmt.Sprintf("[127.0.0.1]:%s %s", h.port(), ssh.MarshalAuthorizedKey(newKey(t, filepath.Join(t.TempDir(), "key")))))
	refused(t, open(t, checkout.Config{SSHKey: h.key, KnownHosts: other}), request(t, h.url(t, origin.dir), head), "Host key verification failed")
}
