package main

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The judge of lease histories takes what may happen and refuses what may not: a judge that takes everything proves
// nothing.
func TestLeaseModel(t *testing.T) {
	t.Parallel()
	at := func(call, ret int, verb string, epoch int, res result) op {
		o := op{Verb: verb, Epoch: epoch, Call: time.Duration(call), Return: time.Duration(ret), Result: res}
		if ret == 0 {
			o.Return = forever - 2
		}
		return o
	}
	end := func(how string) op { return op{Verb: "end", Lease: how, Call: forever - 1, Return: forever} }
	one, two := at(0, 10, "grant", 1, accepted), at(0, 40, "grant", 2, accepted)
	taken := at(0, 0, "taken", 1, unknown)
	for name, c := range map[string]struct {
		ops  []op
		want bool
	}{
		"a_task":                      {[]op{one, at(11, 12, "start", 1, accepted), at(13, 14, "finish", 1, accepted), end("f")}, true},
		"a_result_sent_twice":         {[]op{one, at(13, 14, "finish", 1, accepted), at(15, 16, "finish", 1, accepted), end("f")}, true},
		"a_result_without_answer":     {[]op{one, at(13, 0, "finish", 1, unknown), at(15, 16, "finish", 1, accepted), end("f")}, true},
		"a_request_that_got_lost":     {[]op{one, at(13, 0, "finish", 1, unknown), taken, end("t")}, true},
		"lost_and_fenced":             {[]op{one, taken, two, at(41, 42, "finish", 1, fenced), at(43, 44, "finish", 2, accepted), end("tf")}, true},
		"a_late_result_counts":        {[]op{one, taken, two, at(41, 42, "finish", 1, accepted), end("tf")}, false},
		"two_results":                 {[]op{one, two, taken, at(41, 42, "finish", 1, accepted), at(43, 44, "finish", 2, accepted), end("tf")}, false},
		"two_leases_at_once":          {[]op{one, two, end("")}, false},
		"fenced_without_reason":       {[]op{one, at(11, 12, "start", 1, fenced), at(13, 14, "finish", 1, accepted), end("f")}, false},
		"an_accepted_result_is_lost":  {[]op{one, at(13, 14, "finish", 1, accepted), taken, two, end("tf")}, false},
		"start_after_the_end":         {[]op{one, at(13, 14, "finish", 1, accepted), at(15, 16, "start", 1, accepted), end("f")}, false},
		"handed_back_and_given_again": {[]op{one, at(13, 14, "release", 1, accepted), two, at(41, 42, "finish", 2, accepted), end("rf")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := porcupine.CheckOperationsTimeout(leaseModel(), operations(c.ops), time.Minute)
			if got == porcupine.Unknown || (got == porcupine.Ok) != c.want {
				t.Errorf("the judge says %s, want %v:\n%s", got, c.want, describe(c.ops))
			}
		})
	}
}
