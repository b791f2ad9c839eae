package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ottoci/otto/store"
)

// big is more than one part of an upload to S3.
var big = bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16)

// TestStore holds every kind of place to the same promises.
func TestStore(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T) string{
		"folder":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "deep", "store") },
		"file_url": func(t *testing.T) string { return "file://" + t.TempDir() },
		"memory":   func(*testing.T) string { return "mem://" },
		"s3":       fakeS3,
	}
	promises := map[string]func(t *testing.T, s *store.Store){
		"gives_back_what_it_got":            givesBack,
		"keeps_the_first_bytes_of_a_key":    keepsFirst,
		"takes_the_same_bytes_again":        takesAgain,
		"reads_ranges":                      readsRanges,
		"forgets_what_is_deleted":           forgets,
		"keeps_nothing_of_a_broken_upload":  keepsNothing,
		"keeps_nothing_of_other_bytes":      keepsNoOther,
		"keeps_nothing_over_the_limit":      keepsNothingOver,
		"keeps_nothing_of_an_abandoned_put": keepsNothingAbandoned,
		"takes_one_source_from_eight":       takesOneOfEight,
		"lets_one_of_eight_have_a_key":      oneOfEight,
		"refuses_bad_keys":                  refusesKeys,
		"verifies":                          verifies,
	}
	for place, open := range places {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			for promise, test := range promises {
				t.Run(promise, func(t *testing.T) {
					t.Parallel()
					s, err := store.Open(t.Context(), open(t))
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { s.Close() })
					if err := s.Ready(t.Context()); err != nil {
						t.Fatal(err)
					}
					test(t, s)
				})
			}
		})
	}
}

func givesBack(t *testing.T, s *store.Store) {
	for name, content := range map[string][]byte{"empty": {}, "small": []byte("hello"), "big": big} {
		got, err := s.Put(t.Context(), "logs/1/"+name, bytes.NewReader(content), store.PutOptions{})
		if err != nil || got != objectOf(content) {
			t.Fatalf("Put %s = %v, %v, want %v", name, got, err, objectOf(content))
		}
		mustHold(t, s, "logs/1/"+name, content)
		found, err := s.Stat(t.Context(), "logs/1/"+name)
		if err != nil || found.Size != int64(len(content)) || found.ModifiedAt.IsZero() {
			t.Errorf("Stat %s = %v, %v", name, found, err)
		}
	}
}

func keepsFirst(t *testing.T, s *store.Store) {
	put(t, s, "artifacts/a", []byte("first"))
	for _, content := range [][]byte{[]byte("other"), []byte("longer one"), big} {
		_, err := s.Put(t.Context(), "artifacts/a", bytes.NewReader(content), store.PutOptions{})
		if !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put of %d other bytes: %v, want %v", len(content), err, store.ErrConflict)
		}
	}
	mustHold(t, s, "artifacts/a", []byte("first"))
}

func takesAgain(t *testing.T, s *store.Store) {
	for _, content := range [][]byte{{}, []byte("same"), big} {
		key := "caches/" + objectOf(content).SHA256
		for range 3 {
			put(t, s, key, content)
		}
		mustHold(t, s, key, content)
	}
}

func readsRanges(t *testing.T, s *store.Store) {
	put(t, s, "logs/1", []byte("0123456789"))
	for _, test := range []struct {
		off, n int64
		want   string
	}{{0, 4, "0123"}, {4, 3, "456"}, {8, 100, "89"}, {3, -1, "3456789"}, {5, 0, ""}, {10, 5, ""}, {99, -1, ""}} {
		r, err := s.GetRange(t.Context(), "logs/1", test.off, test.n)
		if err != nil {
			t.Fatalf("GetRange(%d, %d): %v", test.off, test.n, err)
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || string(got) != test.want {
			t.Errorf("GetRange(%d, %d) = %q, %v, want %q", test.off, test.n, got, err, test.want)
		}
	}
	if _, err := s.GetRange(t.Context(), "logs/1", -1, 1); err == nil {
		t.Error("a negative offset was taken")
	}
}

func forgets(t *testing.T, s *store.Store) {
	put(t, s, "a/b", []byte("x"))
	for range 2 {
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	mustLack(t, s, "a/b")
	put(t, s, "a/b", []byte("y"))
	mustHold(t, s, "a/b", []byte("y"))
}

func keepsNothing(t *testing.T, s *store.Store) {
	broken := errors.New("connection reset")
	for _, content := range [][]byte{{}, []byte("some"), big} {
		r := io.MultiReader(bytes.NewReader(content), iotest.ErrReader(broken))
		if _, err := s.Put(t.Context(), "logs/1", r, store.PutOptions{}); !errors.Is(err, broken) {
			t.Errorf("Put: %v, want %v", err, broken)
		}
		mustLack(t, s, "logs/1")
	}
}

func keepsNoOther(t *testing.T, s *store.Store) {
	digest := "sha256:" + objectOf(big).SHA256
	for _, content := range [][]byte{{}, []byte("other"), big[:len(big)-1]} {
		if _, err := s.PutSource(t.Context(), bytes.NewReader(content), digest, 1<<30); !errors.Is(err, store.ErrDigest) {
			t.Errorf("PutSource of %d bytes: %v, want %v", len(content), err, store.ErrDigest)
		}
		key, err := store.SourceKey(digest)
		if err != nil {
			t.Fatal(err)
		}
		mustLack(t, s, key)
	}
}

func keepsNothingOver(t *testing.T, s *store.Store) {
	digest := "sha256:" + objectOf(big).SHA256
	limit := int64(len(big))
	if _, err := s.PutSource(t.Context(), bytes.NewReader(big), digest, limit-1); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("PutSource: %v, want %v", err, store.ErrTooLarge)
	}
	if _, err := s.PutSource(t.Context(), bytes.NewReader(big), digest, limit); err != nil {
		t.Errorf("PutSource of just the limit: %v", err)
	}
}

func keepsNothingAbandoned(t *testing.T, s *store.Store) {
	gone := errors.New("client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := io.MultiReader(strings.NewReader("some"), readerFunc(func([]byte) (int, error) { cancel(gone); return 0, nil }))
	if _, err := s.Put(ctx, "logs/1", r, store.PutOptions{}); !errors.Is(err, gone) {
		t.Errorf("Put: %v, want %v", err, gone)
	}
	mustLack(t, s, "logs/1")
}

func takesOneOfEight(t *testing.T, s *store.Store) {
	want := objectOf(big)
	errs := eight(func(int) error {
		got, err := s.PutSource(t.Context(), bytes.NewReader(big), "sha256:"+want.SHA256, int64(len(big)))
		if err == nil && got != want {
			t.Errorf("PutSource = %v, want %v", got, want)
		}
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	mustHold(t, s, "sources/sha256/"+want.SHA256[:2]+"/"+want.SHA256, big)
}

func oneOfEight(t *testing.T, s *store.Store) {
	content := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1000) }
	errs := eight(func(i int) error {
		_, err := s.Put(t.Context(), "logs/1", bytes.NewReader(content(i)), store.PutOptions{})
		return err
	})
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("both %d and %d have the key", winner, i)
		case !errors.Is(err, store.ErrConflict):
			t.Errorf("Put: %v, want %v", err, store.ErrConflict)
		}
	}
	if winner < 0 {
		t.Fatal("nobody has the key")
	}
	mustHold(t, s, "logs/1", content(winner))
}

func refusesKeys(t *testing.T, s *store.Store) {
	for _, key := range []string{
		"", "/etc/passwd", "..", "../x", "a/../b", "a/..", "./a", "a//b", "a/", "a/.hidden", ".incoming/x", "a\x00b", "a\nb",
		`a\b`, "\xff", "a.attrs", "a__0x2f__b", strings.Repeat("x", 256), strings.Repeat("long/", 200) + "x",
	} {
		_, put := s.Put(t.Context(), key, strings.NewReader("x"), store.PutOptions{})
		_, _, get := s.Get(t.Context(), key)
		_, stat := s.Stat(t.Context(), key)
		for act, err := range map[string]error{"Put": put, "Get": get, "Stat": stat, "Delete": s.Delete(t.Context(), key)} {
			if !errors.Is(err, store.ErrKey) {
				t.Errorf("%s %q: %v, want %v", act, key, err, store.ErrKey)
			}
		}
	}
	for _, digest := range []string{"", "sha256:", "sha256:" + strings.Repeat("A", 64), "md5:" + strings.Repeat("a", 64), strings.Repeat("a", 64)} {
		if _, err := s.PutSource(t.Context(), strings.NewReader("x"), digest, 10); !errors.Is(err, store.ErrKey) {
			t.Errorf("PutSource %q: %v, want %v", digest, err, store.ErrKey)
		}
	}
	put(t, s, "a b/ü@+=,~..x", []byte("x"))
	mustHold(t, s, "a b/ü@+=,~..x", []byte("x"))
}

func verifies(t *testing.T, s *store.Store) {
	put(t, s, "logs/1", []byte("hello"))
	right := objectOf([]byte("hello"))
	if err := s.Verify(t.Context(), "logs/1", right); err != nil {
		t.Error(err)
	}
	for _, wrong := range []store.Object{objectOf([]byte("jello")), objectOf([]byte("hell")), {Size: 5}} {
		if err := s.Verify(t.Context(), "logs/1", wrong); !errors.Is(err, store.ErrDigest) {
			t.Errorf("Verify %v: %v, want %v", wrong, err, store.ErrDigest)
		}
	}
	if err := s.Verify(t.Context(), "logs/2", right); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Verify of nothing: %v, want %v", err, store.ErrNotFound)
	}
}
