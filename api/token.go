package api

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// A token is otto_<kind>_<30 random characters><6 of checksum>, all base62. The checksum lets a scanner for leaked
// secrets, and us, tell a token from a typo without asking the database.
const (
	tokenPrefix   = "otto_"
	tokenRandom   = 30
	tokenChecksum = 6
	base62        = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// The kinds of tokens.
const (
	kindUser  = "user"
	kindEnrol = "enrol"
	kindAgent = "agent"

	kindOrchestrator = "orchestrator"
)

var (
	errNotToken      = errors.New("it does not look like an Otto token")
	errTokenChecksum = errors.New("its checksum is wrong, a part of it may be missing")
)

// NewToken makes a credential of kind user, enrol, agent or orchestrator. The secret is shown to its owner once; the database keeps
// the hash.
func NewToken(kind string) (secret string, hash []byte) {
	secret = tokenPrefix + kind + "_" + randomBase62(tokenRandom)
	secret += checksum(secret)
	return secret, hashToken(secret)
}

// hashToken is what the database knows a token by.
func hashToken(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// parseToken checks the form of a token and gives its kind.
func parseToken(secret string) (kind string, err error) {
	rest, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok {
		return "", errNotToken
	}
	kind, body, ok := strings.Cut(rest, "_")
	if !ok || (kind != kindUser && kind != kindEnrol && kind != kindAgent && kind != kindOrchestrator) {
		return "", errNotToken
	}
	if len(body) != tokenRandom+tokenChecksum || strings.Trim(body, base62) != "" {
		return "", errTokenChecksum
	}
	if checksum(secret[:len(secret)-tokenChecksum]) != secret[len(secret)-tokenChecksum:] {
		return "", errTokenChecksum
	}
	return kind, nil
}

func checksum(text string) string {
	sum := crc32.ChecksumIEEE([]byte(text))
	digits := make([]byte, tokenChecksum)
	for i := range digits {
		digits[tokenChecksum-1-i] = base62[sum%62]
		sum /= 62
	}
	return string(digits)
}

// randomBase62 draws evenly: bytes of 248 and more are thrown away, since 248 is the largest multiple of 62 in a byte.
func randomBase62(n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, n)
	for len(out) < n {
		if _, err := rand.Read(buf); err != nil {
			panic(fmt.Sprintf("no randomness: %v", err)) // crypto/rand ends the program before this
		}
		for _, b := range buf {
			if b < 248 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return string(out)
}
