package jobs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestQuietly(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := quietly(slog.New(slog.NewTextHandler(&out, nil))).With("client", "x")
	for range 3 {
		log.InfoContext(t.Context(), "counts")
		log.ErrorContext(t.Context(), "no database")
		log.WarnContext(t.Context(), "late")
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "no database") || !strings.Contains(got, "client=x") {
		t.Errorf("got:\n%s", got)
	}
}
