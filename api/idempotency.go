package api

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db"
)

// answer is what a mutation answers.
type answer[T any] struct {
	Status   int
	Location string `header:"Location"`
	Body     T
}

// stored is how an answer is kept for repeats of its request.
type stored[T any] struct {
	Location string `json:"location,omitempty"`
	Body     T      `json:"body"`
}

// Idempotent is a part of the input of every mutation by users.
type Idempotent struct {
	Key string `header:"Idempotency-Key" maxLength:"200" doc:"The same key with the same request gives the same answer for a day, and changes nothing a second time."`
}

// mutate does a mutation in one transaction. With a key, the answer is stored in that transaction: the row of the key
// makes a second request wait for the first, which then finds the answer; and when a commit's outcome was lost on the
// way, the repeat says what it was. A refusal is not stored: nothing has happened, so the request may be tried again.
func mutate[T any](ctx context.Context, pool *pgxpool.Pool, key string, do func(*db.Queries) (answer[T], error)) (*answer[T], error) {
	var out answer[T]
	err := db.InTx(ctx, pool, func(q *db.Queries) (err error) {
		if key == "" {
			out, err = do(q)
			return err
		}
		out, err = once(ctx, q, key, do)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &out, nil
}

// once does a mutation unless its key was used before.
func once[T any](ctx context.Context, q *db.Queries, key string, do func(*db.Queries) (answer[T], error)) (answer[T], error) {
	req := requestOf(ctx)
	owner := req.who.owner()
	hash := fingerprint(req)
	row, err := q.RequestBegin(ctx, db.RequestBeginParams{Principal: owner, Key: key, Request: hash})
	if err != nil {
		return answer[T]{}, err
	}
	if string(row.Request) != string(hash) {
		return answer[T]{}, newProblem(codeInvalid, "the idempotency key %q was used for another request", key).
			hint("take a new key for a new request")
	}
	if row.Status != nil {
		return replay[T](req.who, key, row)
	}
	out, err := do(q)
	if err != nil {
		return out, err
	}
	kept, err := keep(req.who, key, out)
	if err != nil {
		return out, err
	}
	return out, q.RequestEnd(ctx, db.RequestEndParams{Principal: owner, Key: key, Status: int32(out.Status), Answer: kept})
}

// owner is whose idempotency keys these are: two users may choose the same.
func (p *principal) owner() string { return "token:" + strconv.FormatInt(p.token, 10) }

// fingerprint tells requests apart: by operation, path and body. The path holds the number of the run or task.
func fingerprint(req *request) []byte {
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(req.row.operation), []byte(req.path), req.body} {
		sum.Write(strconv.AppendInt(nil, int64(len(part)), 10))
		sum.Write([]byte{':'})
		sum.Write(part)
	}
	return sum.Sum(nil)
}

func keep[T any](who *principal, key string, out answer[T]) ([]byte, error) {
	plain, err := json.Marshal(stored[T]{out.Location, out.Body})
	if err != nil {
		return nil, err
	}
	sealing, err := seal(who, key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, sealing.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return sealing.Seal(nonce, nonce, plain, nil), nil
}

func replay[T any](who *principal, key string, row db.Idempotency) (answer[T], error) {
	sealing, err := seal(who, key)
	if err != nil {
		return answer[T]{}, err
	}
	n := sealing.NonceSize()
	if len(row.Answer) < n {
		return answer[T]{}, errors.New("stored answer is too short")
	}
	plain, err := sealing.Open(nil, row.Answer[:n], row.Answer[n:], nil)
	if err != nil {
		return answer[T]{}, err
	}
	var kept stored[T]
	if err := json.Unmarshal(plain, &kept); err != nil {
		return answer[T]{}, err
	}
	return answer[T]{int(*row.Status), kept.Location, kept.Body}, nil
}

// seal encrypts the answers that are kept with the caller's own token, which the database does not know: the answer of
// token-create holds a secret, and no copy of the database may.
func seal(who *principal, key string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, []byte(who.secret), nil, "otto idempotency "+key, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
