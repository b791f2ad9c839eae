package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/ottoci/otto/agent"
)

// addGit adds the flags that say how an agent comes by repositories.
func addGit(flags *pflag.FlagSet, g *agent.Git) {
	flags.StringArrayVar(&g.Schemes, "git-scheme", nil, "a `scheme` of repositories' addresses that it fetches by: https, ssh, http or file; may be repeated; https and ssh if absent")
	flags.StringVar(&g.Credentials, "git-credentials", "", "`file` of https://user:password@host lines for repositories, mode 0600")
	flags.StringVar(&g.SSHKey, "git-ssh-key", "", "`file` of the private key for repositories by ssh, mode 0600, without a passphrase")
	flags.StringVar(&g.KnownHosts, "git-known-hosts", "", "`file` of the hosts that ssh may talk to, as ssh-keyscan writes it")
	flags.StringVar(&g.CAFile, "git-ca", "", "`file` of certificates to trust for https repositories, instead of the system's")
}

// localGit is what the agent of this machine may do that others may not: to read repositories on it, which are its person's own.
func localGit(home string) []string {
	args := []string{"--git-scheme", "https", "--git-scheme", "ssh", "--git-scheme", "file"}
	if hosts := filepath.Join(home, ".ssh", "known_hosts"); home != "" && regular(hosts) {
		args = append(args, "--git-known-hosts", hosts)
	}
	return args
}

func regular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
