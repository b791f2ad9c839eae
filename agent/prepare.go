package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ottoci/otto/client"
)

// furnish makes the task's directories, while the server is told that the work begins. The channel gives how that went.
func (t *task) furnish(ctx context.Context) <-chan error {
	made := make(chan error, 1)
	go func() {
		if err := t.agent.dir.makeTask(t.lease.ID); err != nil {
			made <- fmt.Errorf("cannot make the workspace: %w", err)
		} else if err := t.settle(ctx); err != nil {
			made <- err
		} else if err := t.openOutput(); err != nil {
			made <- fmt.Errorf("cannot make the file for outputs: %w", err)
		}
		close(made)
	}()
	return made
}

// prepare puts the source into the workspace, once that is there, and opens the room for the steps.
func (t *task) prepare(ctx context.Context, made <-chan error) (err error) {
	if err := <-made; err != nil {
		return err
	}
	if err := t.fill(ctx); err != nil {
		return err
	}
	t.room, err = t.openRoom(ctx)
	return err
}

// fill puts the source into the workspace.
func (t *task) fill(ctx context.Context) error {
	if c := t.lease.Spec.Checkout; c != nil && c.Off {
		return nil
	}
	if t.lease.Checkout != nil {
		if err := t.checkout(ctx, *t.lease.Checkout); err != nil {
			return err
		}
		return t.give("workspace")
	}
	if t.lease.Source == nil {
		return nil
	}
	err := t.unpackSource(ctx, *t.lease.Source)
	if errors.Is(err, errDamaged) {
		// It was right when it came: fetch it again, once.
		if err := errors.Join(t.agent.sources.forget(t.lease.Source.Digest), t.emptyWorkspace()); err != nil {
			return fmt.Errorf("cannot make the workspace: %w", err)
		}
		err = t.unpackSource(ctx, *t.lease.Source)
	}
	return err
}

// emptyWorkspace removes what is in the workspace, and keeps the directory, which somebody owns.
func (t *task) emptyWorkspace() error {
	entries, err := os.ReadDir(t.path("workspace"))
	for _, entry := range entries {
		err = errors.Join(err, removeTree(filepath.Join(t.path("workspace"), entry.Name())))
	}
	return err
}

var errDamaged = errors.New("the cached bundle is damaged")

// unpackSource unpacks the bundle and verifies its digest while reading it, also when it comes from the cache: steps of
// other tasks run as the same user and could have changed it there.
func (t *task) unpackSource(ctx context.Context, ref client.SourceRef) error {
	bundle, err := t.fetchSource(ctx, ref)
	if err != nil {
		return fmt.Errorf("cannot fetch the source: %w", err)
	}
	defer bundle.Close()
	root, err := os.OpenRoot(t.path("workspace"))
	if err != nil {
		return fmt.Errorf("cannot unpack the source: %w", err)
	}
	defer root.Close()
	sum := newVerifier(ref.Digest)
	in := io.TeeReader(readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return bundle.Read(p)
	}), sum)
	u := unpacker{root: root, bytes: t.agent.cfg.SourceBytes, entries: t.agent.cfg.SourceEntries}
	unpacked := t.as(func() error { return u.unpack(in) })
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("cannot read the source: %w", err)
	}
	if err := sum.verify(); err != nil {
		return fmt.Errorf("cannot unpack the source: %w: %w", errDamaged, err)
	}
	if unpacked != nil {
		return fmt.Errorf("cannot unpack the source: %w", unpacked)
	}
	return nil
}

// fetchTries is how often a transfer may end well and yet bring the wrong bytes.
const fetchTries = 3

// fetchSource gets the bundle, however long the server is away.
func (t *task) fetchSource(ctx context.Context, ref client.SourceRef) (*os.File, error) {
	pauses := t.agent.reportBackoff()
	wrong := 0
	for {
		f, err := t.agent.sources.get(ctx, ref, func(ctx context.Context) (io.ReadCloser, error) {
			return t.agent.logs.LeaseSource(ctx, t.lease.ID)
		})
		if errors.Is(err, errDigest) {
			wrong++
		}
		if err == nil || ctx.Err() != nil || wrong == fetchTries || refused(err) || isLocal(err) {
			return f, err
		}
		if pauses.tries == 0 {
			t.log.WarnContext(ctx, "source not fetched, trying on", "error", err)
		}
		sleep(ctx, pauses.pause(err))
	}
}

// isLocal says whether an error is about a file of ours, which no server can mend.
func isLocal(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
