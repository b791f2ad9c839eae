package properties

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ottoci/otto/pipeline"
)

// passage is a task that gets its place in its group, or leaves it.
type passage struct {
	tx, id int64
	by     *fate
	limit  int // of who enters; 0: he leaves
}

// crowded says where a task got a place in its group although there was none.
func crowded(histories []*history) error {
	groups := map[string][]passage{}
	for _, h := range histories {
		for _, f := range h.tasks {
			name, limit := f.groupOf(), 0
			if f.group != nil {
				limit = f.group.Limit
			}
			for _, e := range h.environments {
				if e.name == f.environment {
					limit = e.limit
				}
			}
			if entered := f.first("ready"); name != "" && entered != never {
				groups[name] = append(groups[name], passage{f.readyTx, entered, f, limit}, passage{f.endTx, f.ends, f, 0})
			}
		}
	}
	for name, passages := range groups {
		begins := map[int64]int64{} // each transaction, at its first passage
		for _, p := range passages {
			if at, seen := begins[p.tx]; !seen || p.id < at {
				begins[p.tx] = p.id
			}
		}
		// Who leaves makes room for who enters in the same transaction.
		slices.SortFunc(passages, func(a, b passage) int {
			return cmp.Or(cmp.Compare(begins[a.tx], begins[b.tx]), cmp.Compare(min(1, a.limit), min(1, b.limit)), cmp.Compare(a.id, b.id))
		})
		inside := 0
		for _, p := range passages {
			if p.limit == 0 {
				inside--
			} else if inside++; inside > p.limit {
				return fmt.Errorf("run %d task %s is number %d in the group %s of %d", p.by.RunID, p.by.leg.name, inside, name, p.limit)
			}
		}
	}
	return nil
}

// stoppedElsewhere is nothing if the task's group kept it from running.
func (f *fate) stoppedElsewhere(others []*history, why string) error {
	group := f.groupOf()
	for _, h := range others {
		for _, other := range h.tasks {
			if group == "" || other.ID == f.ID || other.groupOf() != group || other.begins > f.ends {
				continue
			}
			if f.State == "skipped" && f.reason() == "concurrency: "+group && f.group.OnConflict == pipeline.ConflictSkip && other.ends > f.begins {
				return nil
			}
			older := f.State == "aborted" && f.reason() == fmt.Sprintf("superseded by run %d", h.id) && h.id > f.RunID
			if older && (f.supersedes() || other.supersedes()) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s", why)
}

func (f *fate) groupOf() string {
	switch {
	case f.environment != "":
		return "environment " + f.environment
	case f.group != nil:
		return f.group.Group
	}
	return ""
}

func (f *fate) supersedes() bool {
	return f.group != nil && f.group.OnConflict == pipeline.ConflictAbortOlder
}
