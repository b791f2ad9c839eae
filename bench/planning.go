package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/ottoci/otto/pipeline"
)

// plansTimed is how often each Ottofile is compiled.
const plansTimed = 5

// planning measures the compiler alone. Where it refuses a file for its size, that is what is reported: a file of as many
// tasks as fit is timed instead.
func (s *session) planning(context.Context) error {
	for _, tasks := range s.size.plans {
		fits, err := largestPlan(tasks)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%s tasks", grouped(int64(fits)))
		if fits < tasks {
			name += fmt.Sprintf(", the most of %s that an Ottofile may have", grouped(int64(tasks)))
		}
		file := pipeline.File{Name: "Ottofile.yaml", Data: []byte(manyTasks(fits, "", "true"))}
		var took samples
		for range plansTimed {
			began := time.Now()
			pipeline.Compile(file, pipeline.Facts{})
			took = append(took, ms(time.Since(began)))
		}
		s.report.add("planning", name, "ms", took)
	}
	return nil
}

// largestPlan is the most tasks, up to a number, that compile.
func largestPlan(tasks int) (int, error) {
	for fits := tasks; fits > 0; fits -= max(tasks/20, 1) {
		if plan, _ := pipeline.Compile(pipeline.File{Name: "Ottofile.yaml", Data: []byte(manyTasks(fits, "", "true"))}, pipeline.Facts{}); plan != nil {
			return fits, nil
		}
	}
	return 0, fmt.Errorf("no share of %d tasks compiles", tasks)
}
