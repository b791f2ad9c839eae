package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// Tool is a program that an agent looks for, and how it says its version.
type Tool struct {
	Name string
	Args []string
}

// KnownTools are those that agents look for. docker is not among them: it is offered where an engine answers.
func KnownTools() []Tool {
	version := []string{"--version"}
	return []Tool{
		{"git", version}, {"go", []string{"version"}}, {"node", version}, {"npm", version}, {"python3", version}, {"java", []string{"-version"}}, {"mvn", version},
		{"gradle", version}, {"make", version}, {"cmake", version}, {"gcc", []string{"-dumpfullversion"}}, {"clang", version}, {"cargo", version}, {"rustc", version},
		{"ruby", version}, {"php", version}, {"dotnet", version}, {"helm", []string{"version", "--short"}}, {"terraform", version},
	}
}

const (
	// toolPatience is how long a tool may take to say its version: a JVM needs a second on a busy machine.
	toolPatience = 10 * time.Second
	// toolsAtOnce are asked side by side, so that the agent's tasks hardly notice.
	toolsAtOnce = 4
	// toolTalk is how much of what a tool says is looked at.
	toolTalk = 4 << 10
)

var (
	toolVersion = regexp.MustCompile(`[0-9]+(?:\.[0-9]+)+(?:-?(?:rc|alpha|beta|a|b|ea|pre|dev)[.-]?[0-9]*)?`)
	bareVersion = regexp.MustCompile(`"([0-9]+)[^"]*"`) // as of java 21
)

// toolFile is a tool as it was found: what stands in the file of a path that has not changed need not be asked again.
type toolFile struct {
	Path    string    `json:"path"`
	Changed time.Time `json:"changed"`
	Bytes   int64     `json:"bytes"`
	Version string    `json:"version"` // empty: it would not say
}

// tools are what the agent offers of the programs in its PATH: those that it knew when it started, and soon all.
type tools struct {
	mu    sync.Mutex
	known map[string]toolFile // by name
	path  string              // where they are kept across starts
	dirs  string              // the PATH of steps
}

// openTools reads what is known from before, and is still so.
func openTools(path, dirs string) *tools {
	t := &tools{path: path, dirs: dirs, known: map[string]toolFile{}}
	if body, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(body, &t.known) // what cannot be read is asked for again
	}
	for name, was := range t.known {
		if now, err := findTool(name, dirs); err != nil || !now.same(was) {
			delete(t.known, name)
		}
	}
	return t
}

// findTool looks where a step would find a tool.
func findTool(name, dirs string) (toolFile, error) {
	path := ""
	for _, dir := range filepath.SplitList(dirs) {
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(dir) {
			path = found
			break
		}
	}
	if path == "" {
		return toolFile{}, exec.ErrNotFound
	}
	info, err := os.Stat(path) // of what a link leads to; but a tool may be told by its name what it is
	if err != nil {
		return toolFile{}, err
	}
	return toolFile{Path: path, Changed: info.ModTime(), Bytes: info.Size()}, nil
}

func (f toolFile) same(g toolFile) bool {
	return f.Path == g.Path && f.Changed.Equal(g.Changed) && f.Bytes == g.Bytes
}

// offers are the versions that are known.
func (t *tools) offers() map[string]any {
	out := map[string]any{}
	if t == nil {
		return out
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, f := range t.known {
		if f.Version != "" {
			out[name] = f.Version
		}
	}
	return out
}

// look asks the tools that are not known for their versions, and says whether there is news.
func (t *tools) look(ctx context.Context, list []Tool, start func(*exec.Cmd) error, forget func(*exec.Cmd)) bool {
	before := t.offers()
	var asking sync.WaitGroup
	free := make(chan struct{}, toolsAtOnce)
	for _, tool := range list {
		found, err := findTool(tool.Name, t.dirs)
		t.mu.Lock()
		_, known := t.known[tool.Name]
		t.mu.Unlock()
		if err != nil || known {
			continue
		}
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			version, err := t.ask(ctx, tool, start, forget)
			if err != nil && ctx.Err() != nil {
				return // it had no time to answer
			}
			found.Version = version
			t.mu.Lock()
			defer t.mu.Unlock()
			t.known[tool.Name] = found
		})
	}
	asking.Wait()
	return !maps.Equal(before, t.offers())
}

// ask runs a tool in an environment that has a PATH and nothing to act on, away from every workspace.
func (t *tools) ask(ctx context.Context, tool Tool, start func(*exec.Cmd) error, forget func(*exec.Cmd)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolPatience)
	defer cancel()
	dir, err := os.MkdirTemp("", "otto-tool-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	found, err := findTool(tool.Name, t.dirs)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, found.Path, tool.Args...) //nolint:gosec // of the list above
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.Env = []string{"PATH=" + t.dirs, "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C", "GOTOOLCHAIN=local", "DOTNET_CLI_TELEMETRY_OPTOUT=1", "CHECKPOINT_DISABLE=1"}
	talk := &toolOutput{left: toolTalk}
	cmd.Stdout, cmd.Stderr = talk, talk
	if err := start(cmd); err != nil {
		return "", err
	}
	err = cmd.Wait()
	forget(cmd)
	return versionIn(talk.String()), err
}

// versionIn finds the version in what a tool says of itself.
func versionIn(talk string) string {
	if bare := bareVersion.FindStringSubmatch(talk); bare != nil && !strings.Contains(bare[0], ".") {
		return bare[1]
	}
	return toolVersion.FindString(talk)
}

// toolOutput keeps the beginning of what is written to it. Both outputs of a tool are the same writer, which exec writes to from one goroutine.
type toolOutput struct {
	bytes.Buffer
	left int
}

func (b *toolOutput) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.Buffer.Write(p[:n])
	return len(p), nil
}

// keep writes down what is known, for the next start.
func (t *tools) keep() error {
	t.mu.Lock()
	body, err := json.Marshal(t.known)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	return os.WriteFile(t.path, body, 0o600)
}

// lookForTools finds out what the agent did not know of its tools when it said hello, and tells the server.
func (a *Agent) lookForTools(ctx context.Context) {
	if len(a.cfg.Tools) == 0 || !a.tools.look(ctx, a.cfg.Tools, a.keepers.start, a.keepers.forget) {
		return
	}
	if err := a.tools.keep(); err != nil {
		a.log.WarnContext(ctx, "tools were not kept for the next start", "error", err)
	}
	err := a.insist(ctx, "offer", func(ctx context.Context) error { return a.control.AgentOffer(ctx, a.offer(ctx)) })
	switch {
	case err == nil:
		a.log.InfoContext(ctx, "tools were found", "tools", fmt.Sprint(a.tools.offers()))
	case client.IsStatus(err, http.StatusNotFound): // it is older
		a.log.InfoContext(ctx, "the server learns of new tools at the next start only")
	case ctx.Err() == nil:
		a.log.WarnContext(ctx, "tools were not told", "error", err)
	}
}
