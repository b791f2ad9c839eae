package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/store"
)

// A run that is over goes with its source and plan, and the bundle's bytes after them; what is kept stays.
func TestRetention(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	old := p.source(map[string]string{"Ottofile.yaml": "steps: [{sh: old}]"})
	run := p.run(old, "")
	p.eventually("the run is planned", func() bool { return p.state(run).PlanDigest != nil })
	if _, err := p.q.RunAbort(t.Context(), db.RunAbortParams{Run: run, Actor: "t"}); err != nil {
		t.Fatal(err)
	}
	dbtest.AdvanceClock(t, p.db, 91*24*time.Hour)
	kept := p.source(map[string]string{"Ottofile.yaml": "steps: [{sh: kept}]"})
	p.eventually("the run is gone", func() bool { return p.count("select count(*) from runs") == 0 })
	if p.count("select count(*) from sources") != 2 || p.count("select count(*) from plans") != 1 {
		t.Error("a source or plan went with the run")
	}
	dbtest.AdvanceClock(t, p.db, 13*time.Hour)
	p.known(kept)
	dbtest.AdvanceClock(t, p.db, 12*time.Hour)
	p.eventually("what only the run needed is gone", func() bool {
		return p.count("select count(*) from sources") == 1 && p.count("select count(*) from plans") == 0 && !p.has(old)
	})
	if !p.has(kept) {
		t.Error("a source's bundle is gone")
	}
}

func (p *plant) count(query string, args ...any) (n int) {
	p.t.Helper()
	if err := p.db.Owner.QueryRow(p.t.Context(), query, args...).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// has says whether the bytes of a source are there.
func (p *plant) has(digest string) bool {
	p.t.Helper()
	key, err := store.SourceKey(digest)
	if err == nil {
		_, err = p.store.Stat(p.t.Context(), key)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		p.t.Fatal(err)
	}
	return err == nil
}

// still is a plant without workers: a test calls them.
func still(t *testing.T) *plant {
	t.Helper()
	d := dbtest.Open(t)
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &plant{t: t, db: d, q: db.New(d.App), store: s}
}

// upload does what the API does with a bundle.
func (p *plant) upload(ctx context.Context, text string) (digest string, err error) {
	sum := sha256.Sum256([]byte(text))
	digest = "sha256:" + hex.EncodeToString(sum[:])
	if _, err := p.q.SourceExpect(ctx, digest); err != nil {
		return "", err
	}
	if _, err := p.store.PutSource(ctx, strings.NewReader(text), digest, 1<<20); err != nil {
		return "", err
	}
	_, err = p.q.SourceStore(ctx, db.SourceStoreParams{Digest: digest, Actor: "t"})
	return digest, err
}

// Four upload a bundle while four delete it: the upload wins. Where there is a source, there are its bytes.
func TestUploadRacesDeletion(t *testing.T) {
	t.Parallel()
	p := still(t)
	w := &objectsPrune{pool: p.db.App, store: p.store, log: slog.New(slog.DiscardHandler)}
	for round := range 30 {
		text := fmt.Sprint("bundle ", round)
		digest, err := p.upload(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		dbtest.AdvanceClock(t, p.db, 25*time.Hour)
		ctx := context.WithoutCancel(t.Context())
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				var err error
				switch i % 4 {
				case 0:
					_, err = p.q.SourcesPrune(ctx, 10)
				case 1:
					_, err = w.batch(ctx)
				default:
					_, err = p.upload(ctx, text)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if p.count("select count(*) from sources where digest = $1", digest) != 1 || !p.has(digest) {
			t.Fatalf("round %d: the source is noted %d times, its bytes are there: %v", round, p.count("select count(*) from sources where digest = $1", digest), p.has(digest))
		}
		if err := w.Work(ctx, nil); err != nil || !p.has(digest) {
			t.Fatalf("round %d: the bytes went afterwards (%v)", round, err)
		}
	}
}

// A deletion that is broken off after the object and before its row is made again, and finds nothing to do.
func TestObjectsPruneAgain(t *testing.T) {
	t.Parallel()
	p := still(t)
	w := &objectsPrune{pool: p.db.App, store: p.store, log: slog.New(slog.DiscardHandler)}
	if _, err := p.store.Put(t.Context(), "logs/there.zst", strings.NewReader("x"), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	const queue = "insert into objects_gone select unnest(array['logs/there.zst', 'logs/gone.zst']), otto.clock()"
	for _, statement := range []string{queue, "insert into objects_gone values ('not/../a/key', otto.clock())"} {
		if _, err := p.db.Owner.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	err := w.Work(t.Context(), nil)
	if !errors.Is(err, store.ErrKey) {
		t.Errorf("what cannot be deleted is not told: %v", err)
	}
	if n := p.count("select count(*) from objects_gone"); n != 1 {
		t.Errorf("%d objects are left, want the one that cannot be deleted", n)
	}
	if _, err := p.store.Stat(t.Context(), "logs/there.zst"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the object is still there: %v", err)
	}
}
