package checkout

import (
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// askpass answers git's questions for a user and a password. What it answers comes by a descriptor that git inherits; and it
// answers only where the question is of the host that the credential is for, so that no redirect leads it elsewhere.
//
//go:embed askpass.sh
var askpass string

// askpassLink is the descriptor, in git and below it.
const askpassLink = 3

// reach lets the commands fetch from a repository: by this one protocol, with the credential that the agent has for it.
func (g *git) reach(repository string) error {
	u, err := url.Parse(repository)
	if err != nil {
		return err
	}
	g.schemes = []string{u.Scheme}
	switch u.Scheme {
	case "ssh":
		return g.reachSSH()
	case "https":
		return g.reachHTTPS(u)
	}
	return nil // a credential does not go out in the clear
}

func (g *git) reachHTTPS(u *url.URL) error {
	found, err := g.store.credential(u)
	if err != nil || found == nil {
		return err
	}
	script := filepath.Join(g.dir, "askpass")
	if err := os.WriteFile(script, []byte(askpass), 0o700); err != nil { //nolint:gosec // git runs it
		return err
	}
	secret, _ := found.Password()
	link, err := memoryFile(found.Username() + "\n" + secret + "\n")
	if err != nil {
		return err
	}
	g.files = append(g.files, link)
	g.env = append(g.env, "GIT_ASKPASS="+script, "OTTO_GIT_ORIGIN="+u.Scheme+"://"+u.Host, fmt.Sprintf("OTTO_GIT_LINK=%d", askpassLink),
		"OTTO_GIT_ORIGIN_OF_USER="+(&url.URL{Scheme: u.Scheme, Host: u.Host, User: url.User(found.Username())}).String())
	return nil
}

// credential is what the agent knows for an address: of the lines for its host, that with the longest path that the address is
// below. The file is read each time, so that a password that was changed counts at once.
func (s *Store) credential(u *url.URL) (*url.Userinfo, error) {
	if s.cfg.Credentials == "" {
		return nil, nil
	}
	body, err := readSecret(s.cfg.Credentials)
	if err != nil {
		return nil, err
	}
	var best *url.URL
	number := 0
	for line := range strings.Lines(body) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		known, err := url.Parse(line)
		if err != nil || known.Scheme != "https" || known.Host == "" || known.User == nil || strings.ContainsAny(unescaped(known.User), "\r\n\x00") {
			return nil, fmt.Errorf("line %d of %s is not https://user:password@host or https://user:password@host/path", number, s.cfg.Credentials)
		}
		if serves(known, u) && (best == nil || len(known.Path) > len(best.Path)) {
			best = known
		}
	}
	if best == nil {
		return nil, nil
	}
	return best.User, nil
}

func unescaped(u *url.Userinfo) string {
	secret, _ := u.Password()
	return u.Username() + secret
}

// serves says whether a credential is for an address.
func serves(known, u *url.URL) bool {
	if !strings.EqualFold(known.Host, u.Host) || known.Scheme != u.Scheme {
		return false
	}
	if name := u.User.Username(); name != "" && name != known.User.Username() {
		return false
	}
	below := strings.TrimSuffix(known.Path, "/")
	rest, ok := strings.CutPrefix(u.Path, below)
	return ok && (rest == "" || rest[0] == '/' || rest == ".git")
}

// readSecret reads a file that nobody else may read.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s has mode %04o, and others must not read it: chmod 600 %s", path, mode, path)
	}
	body, err := os.ReadFile(path)
	if len(body) > 1<<20 {
		err = errors.Join(err, fmt.Errorf("%s is larger than 1 MiB", path))
	}
	return string(body), err
}
