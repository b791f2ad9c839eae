package checkout_test

import (
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/client"
)

// attacks are repositories that try to make git, on an agent, run something or write elsewhere (S6). Each is tried over https.
var attacks = []struct {
	name    string
	refused string // why; empty: the checkout succeeds, and does no harm
	make    func(t *testing.T, r *repo, pwn string) (commit string)
}{
	{"a_git_directory_in_the_tree", ".git", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(
			entry{"100755", ".git/hooks/post-checkout", "#!/bin/sh\n" + pwn}, entry{"100644", ".git/config", "[core]\n\tfsmonitor = " + pwn + "\n"})
	}},
	{"a_git_directory_by_another_spelling", ".git", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100755", ".GIT/hooks/post-checkout", "#!/bin/sh\n" + pwn}, entry{"100644", "git~1/config", "x"})
	}},
	{"a_git_directory_that_macs_would_read_so", "Dotgit", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100755", ".g\u200cit/hooks/post-checkout", "#!/bin/sh\n" + pwn})
	}},
	{"a_linked_git_directory", ".git", func(_ *testing.T, r *repo, _ string) string {
		return r.commitTree(entry{"120000", ".git", "evil"}, entry{"100644", "evil/config", "x"})
	}},
	{"a_path_that_leads_outside", "..", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100755", "../outside", pwn})
	}},
	{"a_file_behind_a_link", "duplicateEntries", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"120000", "d", filepath.Dir(strings.Fields(pwn)[1])}, entry{"100644", "d/pwned", "x"})
	}},
	{"links_that_lead_outside", "", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"120000", "d", filepath.Dir(strings.Fields(pwn)[1])}, entry{"120000", "e", "../../../.."}, entry{"120000", "f", "f"})
	}},
	{"a_linked_gitmodules", "gitmodulesSymlink", func(_ *testing.T, r *repo, _ string) string {
		return r.commitTree(entry{"120000", ".gitmodules", "/etc/passwd"})
	}},
	{"a_submodule_whose_name_leads_outside", "gitmodulesName", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100644", ".gitmodules", "[submodule \"../../x\"]\n\tpath = sub\n\turl = ../origin\n\tupdate = !" + pwn + "\n"}, entry{"160000", "sub", strings.Repeat("a", 40)})
	}},
	{"a_submodule_whose_address_is_an_option", "gitmodulesUrl", func(_ *testing.T, r *repo, _ string) string {
		return r.commitTree(entry{"100644", ".gitmodules", "[submodule \"x\"]\n\tpath = sub\n\turl = -u./payload\n"}, entry{"160000", "sub", strings.Repeat("a", 40)})
	}},
	{"filters_and_lfs_settings", "", func(t *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100644", ".gitattributes", "* filter=evil diff=evil merge=evil\nlarge filter=lfs\n"}, entry{"100644", ".lfsconfig", "[lfs]\n\turl = https://evil.invalid\n[filter \"evil\"]\n\tsmudge = " + pwn + "\n"},
			entry{"100644", "f", "content\n"}, entry{"100644", "large", "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0", 64) + "\nsize 5\n"})
	}},
	{"a_bare_repository_inside", "", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100644", "inner/HEAD", "ref: refs/heads/main\n"}, entry{"100644", "inner/config", "[core]\n\tbare = true\n\tfsmonitor = " + pwn + "\n\tworktree = .\n"},
			entry{"100644", "inner/objects/x", ""}, entry{"100644", "inner/refs/x", ""}, entry{"100755", "inner/hooks/post-checkout", "#!/bin/sh\n" + pwn})
	}},
	{"names_that_look_like_options", "", func(_ *testing.T, r *repo, pwn string) string {
		return r.commitTree(entry{"100644", "--upload-pack=" + strings.ReplaceAll(pwn, "/", "%"), "x"}, entry{"100644", "-h", "x"}, entry{"100644", "$(" + strings.Fields(pwn)[0] + ")", "x"}, entry{"100644", "a\nb", "x"})
	}},
}

func TestHostileRepositories(t *testing.T) {
	t.Parallel()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			origin := newRepo(t)
			pwned := filepath.Join(t.TempDir(), "pwned")
			commit := a.make(t, origin, "touch "+pwned)
			w := newWeb(t, filepath.Dir(origin.dir))
			r := request(t, w.URL+"/origin", commit)
			beside := names(t, filepath.Dir(r.Into))
			// With and without submodules, and twice, the second time from the mirror.
			for _, deep := range []bool{false, true, false} {
				s := open(t, checkout.Config{CAFile: w.CAFile})
				again := r
				again.Submodules = deep && a.refused == ""
				err := s.Checkout(t.Context(), again)
				switch {
				case a.refused == "" && err != nil:
					t.Errorf("%v", err)
				case a.refused != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(a.refused))):
					t.Errorf("got %v, want %q in it", err, a.refused)
				}
				if _, err := os.Lstat(pwned); err == nil {
					t.Fatal("something of the repository ran, or was written outside")
				}
				if got := strings.TrimSuffix(names(t, filepath.Dir(r.Into)), "workspace "); got != beside {
					t.Fatalf("beside the workspace is %s", got)
				}
				if err := os.RemoveAll(r.Into); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func names(t *testing.T, dir string) (out string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		out += e.Name() + " "
	}
	return out
}

// What a run names goes to git, which would take some of it for options and commands (S5).
func TestHostileNames(t *testing.T) {
	t.Parallel()
	pwned := filepath.Join(t.TempDir(), "pwned")
	origin := newRepo(t)
	head := origin.commit("f", "1")
	w := newWeb(t, filepath.Dir(origin.dir))
	s := open(t, checkout.Config{CAFile: w.CAFile, Schemes: []string{"https", "ssh", "http", "file"}})
	good := client.Checkout{Repository: w.URL + "/origin", Commit: head}
	for _, word := range []string{
		"--upload-pack=touch " + pwned, "-oProxyCommand=touch " + pwned, "--exec=touch " + pwned, "-h", "ext::sh -c touch% " + pwned, "ssh://-oProxyCommand=touch%20" + pwned + "/x",
		"file://" + origin.dir + "/../x\x00", "`touch " + pwned + "`", "$(touch " + pwned + ")", "-u./payload", "--config=core.fsmonitor=touch " + pwned,
	} {
		for _, c := range []client.Checkout{{Repository: word, Commit: head}, {Repository: good.Repository, Commit: word}, {Repository: good.Repository, Commit: head, Ref: word}} {
			if err := s.Checkout(t.Context(), checkout.Request{Checkout: c, Into: filepath.Join(t.TempDir(), "workspace")}); err == nil && c.Ref != "$(touch "+pwned+")" {
				t.Errorf("%+v is taken", c)
			}
		}
	}
	if _, err := os.Lstat(pwned); err == nil {
		t.Error("a name was run")
	}
	refused(t, open(t, checkout.Config{}), request(t, "file://"+origin.dir, head), "--git-scheme file")
}

// entry is a file, link or submodule of a tree, as git itself would never add it.
type entry struct{ mode, path, content string }

// commitTree writes objects byte by byte, which no check of git sees.
func (r *repo) commitTree(entries ...entry) string {
	r.t.Helper()
	tree := r.tree(entries)
	commit := r.git("commit-tree", "-m", "evil", tree)
	r.git("update-ref", "refs/heads/main", commit)
	return commit
}

func (r *repo) tree(entries []entry) string {
	r.t.Helper()
	below := map[string][]entry{}
	raw := map[string]string{} // by what git sorts by
	add := func(mode, name, id, by string) {
		bytes, err := hex.DecodeString(id)
		if err != nil {
			r.t.Fatal(err)
		}
		raw[by] = mode + " " + name + "\x00" + string(bytes)
	}
	for _, e := range entries {
		name, rest, deep := strings.Cut(e.path, "/")
		switch {
		case deep:
			below[name] = append(below[name], entry{e.mode, rest, e.content})
		case e.mode == "160000":
			add(e.mode, name, e.content, name+"/")
		default:
			add(e.mode, name, r.object("blob", []byte(e.content)), name)
		}
	}
	for name, list := range below {
		add("40000", name, r.tree(list), name+"/")
	}
	var all strings.Builder
	for _, by := range slices.Sorted(maps.Keys(raw)) {
		all.WriteString(raw[by])
	}
	return r.object("tree", []byte(all.String()))
}

func (r *repo) object(kind string, content []byte) string {
	r.t.Helper()
	cmd := exec.Command("git", "-C", r.dir, "hash-object", "-w", "--literally", "-t", kind, "--stdin")
	cmd.Stdin = strings.NewReader(string(content))
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
