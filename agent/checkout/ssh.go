package checkout

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// sshConfig is all that ssh knows. Its files are in the directory that git, and so ssh, works in: the path to that may be longer
// than the name of a socket.
const sshConfig = `Host *
	BatchMode yes
	StrictHostKeyChecking yes
	UserKnownHostsFile known_hosts
	GlobalKnownHostsFile /dev/null
	UpdateHostKeys no
	IdentityAgent agent.sock
	IdentityFile none
	PreferredAuthentications publickey
	ForwardAgent no
	ClearAllForwardings yes
	PermitLocalCommand no
	ControlPath none
	ConnectTimeout 30
	ServerAliveInterval 15
	ServerAliveCountMax 4
	EscapeChar none
`

// reachSSH lets the commands use the agent's key, without seeing it: ssh asks an ssh agent, which is this process, to sign. It is
// there for as long as the commands run.
func (g *git) reachSSH() error {
	cfg := g.store.cfg
	switch {
	case cfg.KnownHosts == "":
		return errors.New("this agent knows no hosts for ssh: otto agent --git-known-hosts FILE names them")
	case cfg.SSHKey == "":
		return errors.New("this agent has no key for ssh: otto agent --git-ssh-key FILE names it")
	}
	hosts, err := os.ReadFile(cfg.KnownHosts)
	if err != nil {
		return fmt.Errorf("read the known hosts: %w", err)
	}
	keys, err := loadKey(cfg.SSHKey)
	if err != nil {
		return err
	}
	err = errors.Join(os.WriteFile(filepath.Join(g.dir, "known_hosts"), hosts, 0o600), os.WriteFile(filepath.Join(g.dir, "ssh_config"), []byte(sshConfig), 0o600))
	if err != nil {
		return err
	}
	if err := g.serveKeys(keys); err != nil {
		return fmt.Errorf("serve the key to ssh: %w", err)
	}
	g.env = append(g.env, "GIT_SSH_COMMAND=ssh -F ssh_config", "GIT_SSH_VARIANT=ssh")
	return nil
}

// loadKey reads a private key into memory.
func loadKey(path string) (agent.ExtendedAgent, error) {
	body, err := readSecret(path)
	if err != nil {
		return nil, fmt.Errorf("read the key for ssh: %w", err)
	}
	key, err := ssh.ParseRawPrivateKey([]byte(body))
	if err != nil {
		var locked *ssh.PassphraseMissingError
		if errors.As(err, &locked) {
			return nil, fmt.Errorf("the key %s has a passphrase, which nobody would be there to type", path)
		}
		return nil, fmt.Errorf("%s is no private key: %w", path, err)
	}
	ring, ok := agent.NewKeyring().(agent.ExtendedAgent)
	if !ok {
		return nil, errors.New("the keyring cannot sign")
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		return nil, fmt.Errorf("%s is no key that ssh can use: %w", path, err)
	}
	return signer{ring}, nil
}

// serveKeys answers ssh on a socket in the commands' directory.
func (g *git) serveKeys(keys agent.Agent) error {
	dir, err := os.Open(g.dir)
	if err != nil {
		return err
	}
	// Bound through the descriptor: the name of a socket may have 107 bytes.
	listener, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/agent.sock", dir.Fd())) //nolint:noctx // ends with close
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(keys, conn) // its end is the end of the connection
			})
		}
	})
	g.closers = append(g.closers, func() {
		_ = listener.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
		_ = dir.Close()
	})
	return nil
}

// signer lists and signs, and does nothing else: who reaches the socket can take no key away, nor leave one.
type signer struct{ agent.ExtendedAgent }

var errOnlySigns = errors.New("this agent only signs")

func (signer) Add(agent.AddedKey) error       { return errOnlySigns }
func (signer) Remove(ssh.PublicKey) error     { return errOnlySigns }
func (signer) RemoveAll() error               { return errOnlySigns }
func (signer) Lock([]byte) error              { return errOnlySigns }
func (signer) Unlock([]byte) error            { return errOnlySigns }
func (signer) Signers() ([]ssh.Signer, error) { return nil, errOnlySigns }
