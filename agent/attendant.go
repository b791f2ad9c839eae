package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// attendant is a keeper process, seen from the agent. It serves one step after the other.
type attendant struct {
	cmd     *exec.Cmd
	link    *os.File
	reports *json.Decoder // from link
	words   *os.File      // the keeper's standard error: why it died, if it was its own fault

	since time.Time // it waits

	mu      sync.Mutex // held while something is sent
	serving *process   // nil between steps
}

const (
	// jobLimit bounds the handing over of a job; a keeper needs long to read it only on a machine that hardly moves.
	jobLimit = time.Minute
	// orderLimit bounds the same for an order, which always fits unless the keeper does not read at all.
	orderLimit = time.Second
)

// newKeeper starts a keeper, which waits for its first job.
func (a *Agent) newKeeper() (*attendant, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	words, mouth, err := outputPipe()
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	defer mouth.Close()
	k := &attendant{link: ours, reports: json.NewDecoder(ours), words: words}
	k.cmd = exec.Command(a.cfg.Keeper[0], a.cfg.Keeper[1:]...)
	k.cmd.Args[0] = "otto"
	k.cmd.Env = []string{} // nil would mean the agent's own
	k.cmd.Stderr, k.cmd.ExtraFiles = mouth, []*os.File{theirs}
	k.cmd.SysProcAttr = keeperAttributes()
	if err := a.keepers.start(k.cmd); err != nil {
		k.close()
		return nil, fmt.Errorf("start the step's keeper: %w", err)
	}
	return k, nil
}

func (k *attendant) close() {
	_ = k.link.Close()
	_ = k.words.Close()
}

// serve hands over a job. A keeper that does not take it is killed, which its follower notices.
func (k *attendant) serve(p *process, job job, output []*os.File) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.serving = p
	k.wake()
	if err := k.send(message{Job: &job}, output, jobLimit); err != nil {
		_ = k.cmd.Process.Kill()
	}
}

// order sends an order about a step, unless the keeper is done with it.
func (k *attendant) order(p *process, o order) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serving == p {
		k.wake()
		_ = k.send(message{Order: &o}, nil, orderLimit)
	}
}

// kill kills a keeper that still serves p.
func (k *attendant) kill(p *process) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.serving == p {
		_ = k.cmd.Process.Kill()
	}
}

// send writes a line, with descriptors or without.
func (k *attendant) send(m message, files []*os.File, limit time.Duration) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := k.link.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	line = append(line, '\n')
	if len(files) > 0 {
		n, err := sendFiles(k.link, line, files)
		if err != nil {
			return err
		}
		line = line[n:]
	}
	if len(line) > 0 {
		_, err = k.link.Write(line)
	}
	return err
}

// bury ends a keeper that serves no more, and what it has left behind; it says what that was.
func (a *Agent) bury(k *attendant) []string {
	defer a.prepareKeeper()
	a.spare.count(&a.spare.busy, -1)
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait() // its exit status says nothing that the report does not
	words := make([]byte, 4<<10)
	if n := readNow(k.words, words); n > 0 {
		a.log.WarnContext(context.Background(), "keeper died", "words", string(words[:n]))
	}
	k.close()
	return a.keepers.ended(k.cmd)
}

// dismiss ends a keeper that waits for a job: nothing is below it.
func (a *Agent) dismiss(k *attendant) {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
	a.keepers.forget(k.cmd)
	k.close()
}
