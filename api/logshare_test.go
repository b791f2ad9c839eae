package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
)

func testShare(t *testing.T) *logShare {
	t.Helper()
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	return newLogShare(&c.buffers)
}

// filled is a piece whose bytes all say its number.
func filled(s *logShare, seq, size int) piece {
	return piece{seq: seq, raw: append(s.room(size), bytes.Repeat([]byte{byte(seq)}, size)...)}
}

// Eight readers that want the same at the same time read it once.
func TestLogShareLoadsOnce(t *testing.T) {
	t.Parallel()
	s := testShare(t)
	key := pieceKey{lease: uuid.New()}
	var loads atomic.Int32
	arrived := make(chan struct{}, 8)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			arrived <- struct{}{}
			p, err := s.hold(t.Context(), key, func(context.Context) ([]piece, error) {
				loads.Add(1)
				for range 8 {
					<-arrived
				}
				return []piece{filled(s, 0, 10), filled(s, 1, 10)}, nil
			})
			if err != nil || len(p.raw) != 10 {
				t.Errorf("%d bytes, %v", len(p.raw), err)
			}
			s.release(p)
		})
	}
	readers.Wait()
	p, err := s.hold(t.Context(), pieceKey{lease: key.lease, seq: 1}, nil) // came with it
	if err != nil || p.raw[0] != 1 || loads.Load() != 1 {
		t.Errorf("%d loads, %v", loads.Load(), err)
	}
}

func TestLogShareAfterFailures(t *testing.T) {
	t.Parallel()
	s := testShare(t)
	key := pieceKey{lease: uuid.New()}
	boom := errors.New("boom")
	if _, err := s.hold(t.Context(), key, func(context.Context) ([]piece, error) { return nil, boom }); !errors.Is(err, boom) {
		t.Errorf("%v, want what went wrong", err)
	}
	impatient, leave := context.WithCancel(t.Context())
	loading, second := make(chan struct{}), make(chan error)
	go func() {
		_, err := s.hold(impatient, key, func(ctx context.Context) ([]piece, error) {
			close(loading)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		second <- err
	}()
	<-loading
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		p, err := s.hold(t.Context(), key, func(context.Context) ([]piece, error) { return []piece{filled(s, 0, 5)}, nil })
		if err == nil {
			s.release(p)
		}
		second <- err
	}()
	<-waiting
	leave()
	if one, two := <-second, <-second; (one == nil) == (two == nil) {
		t.Errorf("%v and %v: the one who left fails, the other one does not", one, two)
	}
}

// Readers that come and go at random see the right bytes, and what is kept stays within its bound.
func TestLogShareReusesNothingThatIsHeld(t *testing.T) {
	t.Parallel()
	s := testShare(t)
	lease := uuid.New()
	var readers sync.WaitGroup
	for reader := range 8 {
		random := rand.New(rand.NewPCG(2, uint64(reader)))
		readers.Go(func() {
			for range 300 {
				seq := random.IntN(40)
				p, err := s.hold(t.Context(), pieceKey{lease: lease, seq: seq}, func(context.Context) ([]piece, error) {
					return []piece{filled(s, seq, 600_000), filled(s, seq+1, 600_000)}, nil
				})
				if err != nil || bytes.Count(p.raw, []byte{byte(seq)}) != 600_000 {
					t.Errorf("piece %d has other bytes: %v", seq, err)
				}
				s.release(p)
			}
		})
	}
	readers.Wait()
	if s.bytes > s.kept || s.idle.Len() != len(s.pieces) {
		t.Errorf("%d bytes are kept; %d pieces, %d idle", s.bytes, len(s.pieces), s.idle.Len())
	}
}

// Many follow one log while it is written, some at their leisure, in so little memory that nearly all let go of their pieces
// while they write: all get every byte, as text and as events.
func TestLogOfACrowd(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	l.api.share.kept, l.api.share.crowd = 300_000, 500_000
	l.chunk(0, "begin", "", "stdout", "first\n")
	var viewers sync.WaitGroup
	got := make([]bytes.Buffer, 24)
	for i := range got {
		log, err := l.client("reader").TaskLog(t.Context(), l.lease.Task, client.LogOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		viewers.Go(func() {
			defer log.Close()
			if i%3 == 0 {
				readSlowly(log, &got[i])
			} else if _, err := io.Copy(&got[i], log); err != nil {
				t.Error(err)
			}
		})
	}
	var records [3]bytes.Buffer
	for i := range records {
		viewers.Go(func() {
			err := l.client("reader").TaskLogFollow(t.Context(), l.lease.Task, 1, "", func(r client.LogRecord) error {
				records[i].Write(r.Bytes())
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 30 {
		l.chunk(0, "stdout", strings.Repeat(lineOf(i), 8000), "stderr", "\xff\n")
	}
	l.end()
	viewers.Wait()
	for i := range got {
		if !bytes.Equal(got[i].Bytes(), l.whole) {
			t.Errorf("viewer %d has %d bytes, want %d", i, got[i].Len(), len(l.whole))
		}
	}
	for i := range records {
		if !bytes.Equal(records[i].Bytes(), l.whole) {
			t.Errorf("the events of viewer %d have %d bytes, want %d", i, records[i].Len(), len(l.whole))
		}
	}
}

// readSlowly reads by the byte for a while, so that much waits for it.
func readSlowly(r io.Reader, into *bytes.Buffer) {
	one := make([]byte, 1)
	for range 20_000 {
		if _, err := io.ReadFull(r, one); err != nil {
			return
		}
		into.Write(one)
	}
	_, _ = io.Copy(into, r)
}
