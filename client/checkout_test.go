package client_test

import (
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
)

func TestRepositoryAddresses(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"https://host/team/app.git", "https://host:8443/a", "ssh://git@host/team/app", "file:///srv/git/app.git", "https://user@host/app", "https://[::1]:99/a",
	} {
		if err := client.CheckRepository(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "app", "/srv/git", "--upload-pack=touch /tmp/pwn", "-oProxyCommand=touch", "ext::sh -c id", "ext::sh%20-c%20id", "fd::3", "git://host/a",
		"ssh://-oProxyCommand=touch/a", "ssh://git@-oProxyCommand=x/a", "ssh://-l@host/a", "ssh://@host/a", "https:///evil", "https://host", "https://host/",
		"https://user:secret@host/a", "https://host/a?x=1", "https://host/a#b", "https://host/a\nb", "https://host/\x00", "https://host\\@evil/a",
		"file://host/a", "file:///", "ssh://host/-x", "http:a", "https:host/a", "HTTPS ://host/a", "https://host/" + strings.Repeat("a", 2000), "https://hö.st/a",
	} {
		if err := client.CheckRepository(bad); err == nil {
			t.Errorf("%q is taken", bad)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the message has the password: %v", bad, err)
		}
	}
}

func TestRepositoryAddressOfWords(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"git@host:team/app.git":  "ssh://git@host/team/app.git",
		"host:/srv/app":          "ssh://host/srv/app",
		"https://host/a":         "https://host/a",
		"--upload-pack=x:y":      "--upload-pack=x:y",
		"-oProxyCommand=x@y:/z":  "-oProxyCommand=x@y:/z",
		"ext::sh -c touch% /pwn": "ext::sh -c touch% /pwn",
	} {
		if got := client.RepositoryAddress(word); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"main", "release/1.x", "refs/pull/7/head", "v1.0", "ünï", "a@b", "x-y"} {
		if err := client.CheckRef(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "--upload-pack=touch /tmp/pwn", "-oProxyCommand=x", "--exec=x", "-h", "a b", "a..b", "a:b", "a^", "a~1", "a?", "a*", "a[", `a\b`, "a@{1}", "@", "a.", "a.lock",
		"a/.b", "/a", "a/", "a//b", "a\x00", "a\n", "\x7f", strings.Repeat("a", 256),
	} {
		if err := client.CheckRef(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestCommits(t *testing.T) {
	t.Parallel()
	sha := strings.Repeat("0123456789abcdef", 4)
	for _, good := range []string{sha[:40], sha} {
		if err := client.CheckCommit(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "HEAD", sha[:39], sha[:41], strings.ToUpper(sha[:40]), "--upload-pack=touch /tmp/pwn", sha[:39] + "\n"} {
		if client.CheckCommit(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
