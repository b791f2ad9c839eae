package checkout

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ottoci/otto/client"
)

// module is a submodule: where its commit goes, and where that is from.
type module struct{ path, commit, address string }

// submodules checks out the submodules of a commit, and theirs. Git's own command for that is not used: it believes names, paths
// and settings of the repository. Here a submodule is another checkout, by the rules of every checkout.
func (w *work) submodules(ctx context.Context, r Request, nested int) error {
	list, err := w.store.modules(ctx, r)
	if err != nil {
		return fmt.Errorf("read the submodules of %s: %w", r.Repository, err)
	}
	if len(list) > 0 && nested == maxNesting {
		return fmt.Errorf("the submodules of %s lie more than %d deep", r.Repository, maxNesting)
	}
	for _, m := range list {
		if w.modules--; w.modules < 0 {
			return fmt.Errorf("there are more than %d submodules", maxModules)
		}
		into, err := moduleDir(r.Into, m.path)
		if err != nil {
			return fmt.Errorf("submodule %.200q of %s: %w", m.path, r.Repository, err)
		}
		r.Say("submodule %s", m.path)
		part := Request{Checkout: client.Checkout{Repository: m.address, Commit: m.commit}, CheckoutSpec: r.CheckoutSpec, Into: into, Say: r.Say}
		if err := w.checkout(ctx, part, nested+1); err != nil {
			return fmt.Errorf("submodule %.200q: %w", m.path, err)
		}
	}
	return nil
}

// moduleDir is the directory that the checkout has made for a submodule: a real one, below real ones.
func moduleDir(root, name string) (string, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", errors.New("its path leads outside")
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	at := ""
	for part := range strings.SplitSeq(name, "/") {
		at = path.Join(at, part)
		info, err := dir.Lstat(at)
		if err != nil {
			return "", err
		}
		if !info.IsDir() || strings.EqualFold(part, ".git") {
			return "", fmt.Errorf("%s is not a directory of the checkout", at)
		}
	}
	return filepath.Join(root, filepath.FromSlash(name)), nil
}

// modules lists the submodules of a commit that .gitmodules gives an address. Of one without, git knows nothing either.
func (s *Store) modules(ctx context.Context, r Request) ([]module, error) {
	g, err := s.git()
	if err != nil {
		return nil, err
	}
	defer g.close()
	g.in(r.Into)
	listed, err := g.run(ctx, "ls-tree", "-r", "-z", "--full-tree", r.Commit)
	if err != nil {
		return nil, err
	}
	var found []module
	for entry := range strings.SplitSeq(listed, "\x00") {
		head, name, _ := strings.Cut(entry, "\t")
		if words := strings.Fields(head); len(words) == 3 && words[0] == "160000" {
			found = append(found, module{path: name, commit: words[2]})
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	said, err := g.run(ctx, "config", "--blob", r.Commit+":.gitmodules", "--null", "--list")
	if err != nil {
		return nil, err
	}
	addresses, err := addressesIn(said, r.Repository)
	if err != nil {
		return nil, err
	}
	var known []module
	for _, m := range found {
		if m.address = addresses[m.path]; m.address != "" {
			known = append(known, m)
		}
	}
	return known, nil
}

// addressesIn reads the settings of .gitmodules: the address of each path.
func addressesIn(said, parent string) (map[string]string, error) {
	paths, urls := map[string]string{}, map[string]string{}
	for entry := range strings.SplitSeq(said, "\x00") {
		key, value, _ := strings.Cut(entry, "\n")
		if name, ok := strings.CutPrefix(key, "submodule."); ok {
			if of, ok := strings.CutSuffix(name, ".path"); ok {
				paths[of] = value
			} else if of, ok := strings.CutSuffix(name, ".url"); ok {
				urls[of] = value
			}
		}
	}
	out := map[string]string{}
	for name, at := range paths {
		address, err := moduleAddress(urls[name], parent)
		if err != nil {
			return nil, fmt.Errorf("submodule %.200q: %w", name, err)
		}
		out[at] = address
	}
	return out, nil
}

// moduleAddress is where a submodule is: an address of its own, or one beside the repository that it is in. A repository cannot
// lead an agent to files of the machine.
func moduleAddress(word, parent string) (string, error) {
	from, err := url.Parse(parent)
	if err != nil {
		return "", err
	}
	address := client.RepositoryAddress(word)
	if strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") {
		to := *from
		to.Path, to.RawPath = path.Join("/", from.Path, word), ""
		address = to.String()
	}
	if err := client.CheckRepository(address); err != nil {
		return "", err
	}
	if strings.HasPrefix(address, "file:") && from.Scheme != "file" {
		return "", fmt.Errorf("%s leads from %s to the agent's own files", address, parent)
	}
	return address, nil
}
