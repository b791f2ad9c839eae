package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// logLine is how long a line of a log is, with its end, in bytes.
const logLine = 100

// logText makes about size bytes of what programs write: a time, a level, a place, words, and numbers that do not repeat.
// It is whole lines of logLine bytes. How well it compresses is printed beside what depends on it.
func logText(random *rand.Rand, size int) []byte {
	levels := []string{"INFO ", "INFO ", "INFO ", "DEBUG", "DEBUG", "WARN "}
	places := []string{"store/read.go", "http/server.go", "cache/fill.go", "build/link.go", "test/suite.go", "deploy/roll.go"}
	verbs := []string{"fetched", "compiled", "linked", "stored", "verified", "skipped", "uploaded", "resolved"}
	things := []string{"module", "object", "package", "layer", "request", "fixture", "migration", "asset"}
	pick := func(words []string) string { return words[random.IntN(len(words))] }
	var b strings.Builder
	b.Grow(size)
	for ms := 0; b.Len()+logLine <= size; ms += random.IntN(40) {
		line := fmt.Sprintf("12:%02d:%02d.%03d %s %s:%d %s %s %08x in %d.%d ms", ms/60_000%60, ms/1000%60, ms%1000,
			pick(levels), pick(places), random.IntN(400), pick(verbs), pick(things), random.Uint32(), random.IntN(90), random.IntN(10))
		b.WriteString(line + strings.Repeat(".", logLine-1-len(line)) + "\n")
	}
	return []byte(b.String())
}

// packed is how many bytes are left of one, compressed in chunks of 1 MiB at the fastest level.
func packed(text []byte) (float64, error) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return 0, err
	}
	size := 0
	for chunk := range slices.Chunk(text, 1<<20) {
		size += len(zip.EncodeAll(chunk, nil))
	}
	return float64(size) / float64(len(text)), nil
}
