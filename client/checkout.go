package client

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Checkout is what an agent puts into the workspace of a task instead of a source bundle: a commit of a repository.
type Checkout struct {
	Repository string `json:"repository" doc:"Its address, without credentials."`
	Ref        string `json:"ref,omitempty" doc:"The branch or tag that the commit was found by."`
	Commit     string `json:"commit" doc:"40 or 64 hexadecimal digits."`
}

// CheckoutSpec says how a task wants it. Absent: the commit alone, without its history.
type CheckoutSpec struct {
	Off        bool `json:"off,omitempty" doc:"The workspace starts empty, also where a source was uploaded."`
	Depth      int  `json:"depth,omitempty" doc:"How many commits of history, from the commit backwards; -1: all. 1 if absent."`
	Submodules bool `json:"submodules,omitempty" doc:"Submodules too, and theirs."`
	LFS        bool `json:"lfs,omitempty" doc:"The content of the files that git-lfs keeps, instead of its pointers."`
}

// OfferCheckout is the name, among the capabilities of an agent, of checking out commits. The tasks of a run of a repository go to
// no agent without it.
const OfferCheckout = "checkout"

// CheckoutAll is the depth of all history.
const CheckoutAll = -1

// repositorySchemes are the ways to a repository that an address may name. An agent allows some of them.
var repositorySchemes = []string{"https", "ssh", "http", "file"}

const repositoryBytes = 2000

// CheckRepository says what is wrong with the address of a repository. It goes to git as it is: so nothing passes that git, or
// the ssh that git starts, could take for an option, a command or a helper of its own, and nothing that is secret.
func CheckRepository(address string) error {
	if len(address) > repositoryBytes {
		return fmt.Errorf("the address of the repository is longer than %d bytes", repositoryBytes)
	}
	wrong := func(why string) error { return fmt.Errorf("the repository %.200q %s", address, why) }
	if strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r > 0x7e }) {
		return wrong("has a character that no address has")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Opaque != "" || !slices.Contains(repositorySchemes, u.Scheme):
		return wrong("is no address: write https://host/path or ssh://user@host/path")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return wrong("has a query or a fragment")
	case strings.Trim(u.Path, "/") == "" || strings.HasPrefix(u.Path, "/-"):
		return wrong("has no path")
	case u.Scheme == "file":
		if u.Host != "" || u.User != nil {
			return wrong("is a file on another host: write file:///path")
		}
		return nil
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-"):
		return wrong("has no host")
	}
	return checkUser(u, wrong)
}

// checkUser allows a name, of which an option cannot be made, and no password.
func checkUser(u *url.URL, wrong func(string) error) error {
	if u.User == nil {
		return nil
	}
	if _, secret := u.User.Password(); secret {
		return errors.New("the address of the repository has a password in it: give credentials to the agents that may use them")
	}
	if name := u.User.Username(); name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "@/:") {
		return wrong("has no user before the @")
	}
	return nil
}

// scpForm is user@host:path, as people write it for ssh.
var scpForm = regexp.MustCompile(`^([A-Za-z0-9._][A-Za-z0-9._-]*@)?([A-Za-z0-9][A-Za-z0-9.-]*):([^:/][^:]*|/[^/:][^:]*)$`)

// RepositoryAddress writes what a person calls a repository as an address: git@host:path is ssh://git@host/path.
func RepositoryAddress(word string) string {
	if strings.Contains(word, "://") {
		return word
	}
	if part := scpForm.FindStringSubmatch(word); part != nil {
		return "ssh://" + part[1] + part[2] + "/" + strings.TrimPrefix(part[3], "/")
	}
	return word
}

const refBytes = 255

// CheckRef says what is wrong with the name of a branch, a tag or a ref, by git's own rules for them.
func CheckRef(ref string) error {
	wrong := func(why string) error { return fmt.Errorf("the ref %.200q %s", ref, why) }
	switch {
	case ref == "" || len(ref) > refBytes:
		return wrong(fmt.Sprintf("is empty, or longer than %d bytes", refBytes))
	case strings.HasPrefix(ref, "-"):
		return wrong("begins with a dash")
	case strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) }):
		return wrong("has a character that no ref has")
	case strings.Contains(ref, "..") || strings.Contains(ref, "@{") || ref == "@":
		return wrong("is an expression, not a name")
	case strings.HasSuffix(ref, "."):
		return wrong("ends with a dot")
	}
	for part := range strings.SplitSeq(ref, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return wrong("is no name of a ref")
		}
	}
	return nil
}

var commitForm = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// CheckCommit says what is wrong with the full name of a commit.
func CheckCommit(commit string) error {
	if !commitForm.MatchString(commit) {
		return fmt.Errorf("the commit %.100q is not 40 or 64 hexadecimal digits", commit)
	}
	return nil
}

// Check says what is wrong with it.
func (c Checkout) Check() error {
	err := errors.Join(CheckRepository(c.Repository), CheckCommit(c.Commit))
	if err == nil && c.Ref != "" {
		err = CheckRef(c.Ref)
	}
	return err
}
