package api

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/ottoci/otto/client"
)

// Eight contenders with one key make one run, and all get its answer.
func TestIdempotencyKeyUnderContention(t *testing.T) {
	t.Parallel()
	n := start(t)
	body := client.RunCreate{Plan: n.plan(smallOttofile)}
	n.token("writer")
	const contenders = 8
	answers := make([]reply, contenders)
	var wg sync.WaitGroup
	for i := range contenders {
		wg.Go(func() { answers[i] = n.do("writer", "POST", "/v1/runs", body, "Idempotency-Key", "k") })
	}
	wg.Wait()
	for _, r := range answers {
		if run := into[client.Run](t, r, 201); run.Run != into[client.Run](t, answers[0], 201).Run || r.header.Get("Location") != fmt.Sprintf("/v1/runs/%d", run.Run) {
			t.Errorf("got %s, want %s", r.body, answers[0].body)
		}
	}
	if page := into[client.Page[client.Run]](t, n.do("reader", "GET", "/v1/runs", nil), 200); len(page.Items) != 1 {
		t.Errorf("%d runs were made", len(page.Items))
	}
}

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	const key = "Idempotency-Key"
	first := n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan}, key, "k")
	t.Run("refuses_another_body", func(t *testing.T) {
		p := refused(t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: plan, Project: "p"}, key, "k"), 422, "invalid")
		if p.Detail != `the idempotency key "k" was used for another request` {
			t.Error(p.Detail)
		}
	})
	t.Run("refuses_another_path", func(t *testing.T) {
		refused(t, n.do("writer", "POST", "/v1/runs/latest/abort", nil, key, "k"), 422, "invalid")
	})
	t.Run("belongs_to_its_token", func(t *testing.T) {
		other := n.do("admin", "POST", "/v1/runs", client.RunCreate{Plan: plan}, key, "k")
		if into[client.Run](t, other, 201).Run == into[client.Run](t, first, 201).Run {
			t.Error("another caller's answer was given")
		}
	})
	t.Run("a_refusal_is_not_kept", func(t *testing.T) {
		refused(t, n.do("writer", "POST", "/v1/runs/77/abort", nil, key, "later"), 404, "not_found")
		refused(t, n.do("writer", "POST", "/v1/runs/77/abort", nil, key, "later"), 404, "not_found")
	})
	t.Run("abort_is_done_once", func(t *testing.T) {
		run := into[client.Run](t, first, 201).Run
		path := fmt.Sprintf("/v1/runs/%d/abort", run)
		one := n.do("writer", "POST", path, client.RunAbort{Reason: "r"}, key, "abort")
		two := n.do("writer", "POST", path, client.RunAbort{Reason: "r"}, key, "abort")
		if one.status != 200 || !bytes.Equal(one.body, two.body) {
			t.Errorf("%s, then %s", one.body, two.body)
		}
	})
}

// The answer of token-create holds a secret. It is given again for the same key, and yet it is nowhere in the database.
func TestIdempotencyKeepsNoSecrets(t *testing.T) {
	t.Parallel()
	n := start(t)
	body := client.TokenCreate{Name: "x", Role: "reader"}
	one := into[client.TokenCreated](t, n.do("admin", "POST", "/v1/tokens", body, "Idempotency-Key", "k"), 201)
	two := into[client.TokenCreated](t, n.do("admin", "POST", "/v1/tokens", body, "Idempotency-Key", "k"), 201)
	if one.Secret != two.Secret || one.Secret == "" {
		t.Errorf("%q, then %q", one.Secret, two.Secret)
	}
	var answer []byte
	if err := n.db.Owner.QueryRow(t.Context(), "select answer from idempotency").Scan(&answer); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(answer, []byte(one.Secret)) || bytes.Contains(answer, []byte("secret")) {
		t.Error("the answer is kept in clear")
	}
}
