package pipeline

import (
	"fmt"
	"slices"
	"strconv"
)

// maxRetries is how often a task may be tried again.
const maxRetries = 10

// retryReasons are the ends of an attempt that may be followed by another.
func retryReasons() []string { return []string{"failed", "timeout", "lost"} }

// defaultRetryOn is what is tried again when only a number is given.
func defaultRetryOn() []string { return []string{"failed", "timeout"} }

// retries reads a number, or a mapping with its limit.
func (d *decoder) retries(n *node) *retriesDecl {
	if n.kind != mappingKind {
		return &retriesDecl{limit: d.limit(n)}
	}
	r := decodeObject(d, d.lang.retries, n)
	if _, said := n.find("limit"); !said {
		d.add(missingKey, n.at, `retries need a "limit"`).Suggestion = "add limit: 1"
	}
	return &r
}

func (d *decoder) limit(n *node) val[int] {
	if n.kind == stringKind && d.hasExpr(n) || !d.want(n, numberKind, "the limit of retries") {
		return val[int]{}
	}
	limit, err := strconv.Atoi(n.text)
	if !exitText.MatchString(n.text) || err != nil || limit < 1 || limit > maxRetries {
		d.add(badRetries, n.at, "the limit of retries must be a number from 1 to %d", maxRetries).
			Suggestion = "leave retries out for none"
	}
	return val[int]{limit, n}
}

// retryOn reads reasons and exit codes: [failed, timeout, lost, exit: [75]].
func (d *decoder) retryOn(r *retriesDecl, n *node) {
	d.list(n, "retries.on", func(item *node) {
		if item.kind == mappingKind {
			more := decodeObject(d, d.lang.onExit, item)
			r.exit = append(r.exit, more.exit...)
			return
		}
		v, ok := d.str(item, "an entry of retries.on")
		if !ok {
			return
		}
		if !slices.Contains(retryReasons(), v.v) {
			x := d.add(badRetries, item.at, "%q is nothing that can be tried again", shorten(v.v, 40))
			x.Suggestion = "write failed, timeout, lost or exit: [75]"
			if near := nearest(v.v, retryReasons()); near != "" {
				x.Suggestion = fmt.Sprintf("did you mean %q?", near)
			}
			return
		}
		if slices.ContainsFunc(r.on, func(o val[string]) bool { return o.v == v.v }) {
			d.add(badRetries, item.at, "%q stands in retries.on twice", v.v)
			return
		}
		r.on = append(r.on, v)
	})
	if n.kind == listKind && len(n.items) == 0 {
		d.add(badRetries, n.at, "retries.on is empty, so nothing would be tried again").Suggestion = "leave it out for failed and timeout"
	}
	r.onSaid = true
}

// retryExit reads one exit code or a list of them.
func (d *decoder) retryExit(r *retriesDecl, n *node) {
	items := n.items
	if n.kind != listKind {
		items = []*node{n}
	}
	for _, item := range items {
		if !d.want(item, numberKind, "an exit code") {
			continue
		}
		code, ok := exitCode(item.text)
		if !ok || code == 0 {
			d.add(badExitCode, item.at, "%s is not an exit code that can be tried again", shorten(item.text, 40)).
				Suggestion = "exit codes of failures are 1 to 255"
			continue
		}
		r.exit = append(r.exit, val[int]{code, item})
	}
}
