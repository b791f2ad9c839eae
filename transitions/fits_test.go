package transitions_test

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The rules of requirements again, in plain Go and from docs/placement.md rather than from the SQL.

type version struct {
	numbers [6]int
	pre     bool
}

func parseVersion(text string) (v version, ok bool) {
	text = strings.TrimPrefix(text, "v")
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	rest := ""
	if end >= 0 {
		text, rest = text[:end], text[end:]
	}
	parts := strings.Split(text, ".")
	if len(parts) > len(v.numbers) || rest != "" && !strings.ContainsAny(rest[:1], "-~+_ abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || len(p) > 9 {
			return v, false
		}
		v.numbers[i] = n
	}
	v.pre = rest != "" && !strings.ContainsAny(rest[:1], "+_ ")
	return v, true
}

func (v version) compare(w version) int {
	pre := map[bool]int{true: -1}
	return cmp.Or(slices.Compare(v.numbers[:], w.numbers[:]), cmp.Compare(pre[v.pre], pre[w.pre]))
}

func (v version) within(bounds map[string]any) bool {
	for op, text := range bounds {
		than, ok := parseVersion(text.(string))
		c := v.compare(than)
		good := map[string]bool{">=": c >= 0, ">": c > 0, "<=": c <= 0, "<": c < 0, "=": c == 0, "!=": c != 0}[op]
		if op == "<" && !than.pre {
			good = slices.Compare(v.numbers[:], than.numbers[:]) < 0
		}
		if !ok || !good {
			return false
		}
	}
	return len(bounds) > 0
}

func oracleFits(need, offer any, offered bool) bool {
	if !offered || offer == nil {
		return false
	}
	switch need := need.(type) {
	case bool:
		return need && offer != false || !need && offer == false
	case float64:
		switch offer := offer.(type) {
		case float64:
			return offer >= need
		case string:
			is, ok := parseVersion(offer)
			least, plain := parseVersion(strconv.FormatFloat(need, 'f', -1, 64))
			return ok && plain && is.compare(least) >= 0
		}
	case []any:
		have, list := offer.([]any)
		if !list {
			have = []any{offer}
		}
		return !slices.ContainsFunc(need, func(n any) bool { return !slices.Contains(have, n) })
	case map[string]any:
		switch offer := offer.(type) {
		case string:
			v, ok := parseVersion(offer)
			return ok && v.within(need)
		case float64:
			v, ok := parseVersion(strconv.FormatFloat(offer, 'f', -1, 64))
			return ok && v.within(need)
		}
	case string:
		have, list := offer.([]any)
		return offer == any(need) || list && slices.Contains(have, any(need))
	}
	return false
}

func drawVersion() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		var parts []string
		for range rapid.IntRange(1, 7).Draw(t, "parts") {
			parts = append(parts, rapid.SampledFrom([]string{"0", "1", "2", "10", "08", "1234567890"}).Draw(t, "number"))
		}
		if len(parts) > 3 && rapid.Bool().Draw(t, "short") {
			parts = parts[:2]
		}
		return rapid.SampledFrom([]string{"", "", "", "v", "x"}).Draw(t, "prefix") + strings.Join(parts, ".") +
			rapid.SampledFrom([]string{"", "", "", "", "rc1", "-beta.2", "+b", "_392", "~x", ".", " (x)", "/"}).Draw(t, "suffix")
	})
}

// What SQL says of random requirements and offers is what the rules say.
func TestFitsOracle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	number := rapid.SampledFrom([]any{0.0, 1.0, 2.0, 1.5, 10.0, 2147483648.0})
	word := rapid.SampledFrom([]any{"linux", "mac", "1", "true", "ü"})
	text := rapid.OneOf(word, rapid.Map(drawVersion(), func(s string) any { return s }))
	list := rapid.Map(rapid.SliceOfN(word, 0, 3), func(l []any) any { return append([]any{}, l...) })
	boolean := rapid.Map(rapid.Bool(), func(b bool) any { return b })
	bounds := rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{">=", ">", "<=", "<", "=", "!="}), drawVersion(), 0, 3), func(m map[string]string) any {
		out := map[string]any{}
		for k, v := range m {
			out[k] = v
		}
		return out
	})
	names := rapid.SampledFrom([]string{"a", "b", "c"})
	needs := rapid.MapOfN(names, rapid.OneOf(number, text, list, boolean, bounds, bounds), 0, 2)
	offers := rapid.MapOfN(names, rapid.OneOf(number, text, text, list, boolean, rapid.Just[any](nil)), 0, 3)
	yes := 0
	rapid.Check(t, func(rt *rapid.T) {
		var questions []map[string]any
		var want []bool
		for range 50 {
			need, offer := needs.Draw(rt, "need"), offers.Draw(rt, "offer")
			fits := true
			for name, n := range need {
				o, offered := offer[name]
				fits = fits && oracleFits(n, o, offered)
			}
			if fits && len(need) > 0 {
				yes++
			}
			questions, want = append(questions, map[string]any{"need": need, "offer": offer}), append(want, fits)
		}
		var got []bool
		const ask = "select array_agg(otto.fits(q.q -> 'need', q.q -> 'offer') order by q.n) from jsonb_array_elements($1) with ordinality q(q, n)"
		if err := w.db.App.QueryRow(w.ctx(), ask, encoded(t, questions)).Scan(&got); err != nil {
			rt.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				text, _ := json.Marshal(questions[i])
				rt.Fatalf("%s: SQL says %v, the rules %v", text, got[i], want[i])
			}
		}
	})
	if yes == 0 {
		t.Error("nothing ever fitted: the test tests nothing")
	}
}
